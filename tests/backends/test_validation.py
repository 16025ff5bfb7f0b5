"""A manifest with any wrong number ends in an error, or the engine does what it says: it never crashes."""

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.engine_dir import EngineDir
from openbei.errors import EngineDirError

PROGRAM = """
import json, resource, sys
from pathlib import Path
import msgspec, numpy as np
from openbei.backends import load_engine
from openbei.batch import PackedBatch, Sequence, SparseVectors
from openbei.engine_dir import Manifest, open_engine_dir, write_engine_dir
from openbei.errors import EngineDirError, EngineError
from openbei.safetensors_file import LazyTensor
from openbei.spec import *
from tests.random_engine import random_engine_dir

ATTENTION = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 8}
GIVEN = {
    "family": "bert", "vocab_size": 50, "type_vocab_size": 2, "hidden_size": 16, "num_layers": 2,
    "positions": LearnedPositions(max_positions=20, first=2, padding_id=1),
    "attention": Attention(**ATTENTION), "mlp": MLP(intermediate_size=24, activation="gelu"),
    "norm": LayerNorm(eps=1e-6), "head": EmbeddingHead(poolings=("mean",)),
}
local = LocalLayers(layers=(1,), window=5, rotary=Rotary(frequencies=(1.0, 0.5)))
SPECS = {
    "bert": GIVEN | {
        "head": SequenceHead(num_labels=3, padding_id=1, steps=(Dense(out_features=16), LayerNorm(eps=1e-6))),
    },
    "turning": GIVEN | {
        "positions": NoPositions(max_positions=20), "mlp": GatedMLP(intermediate_size=24, activation="silu"),
        "placement": "pre", "norm": RMSNorm(eps=1e-6), "embedding_scale": 4.0,
        "attention": Attention(**ATTENTION, rotary=Rotary(frequencies=(1.0, 0.1)), norm=RMSNorm(eps=1e-6), local=local,
                               softcap=30.0, scale=0.3, is_causal=True),
    },
    "experts": GIVEN | {
        "attention": Attention(**ATTENTION, bias=DistanceBias(slopes=(0.5, 0.25, 0.1, 0.05))),
        "experts": Experts(count=3, top_k=2, layers=(1,)), "head": TokenHead(num_labels=3),
    },
    "buckets": GIVEN | {
        "attention": Attention(**ATTENTION, bias=BucketBias(num_buckets=8, max_distance=16)),
        "convolution": Convolution(width=3, activation="tanh"), "head": TermHead(),
    },
    "disentangled": GIVEN | {
        "positions": NoPositions(max_positions=20),
        "attention": Attention(**ATTENTION, bias=Disentangled(span=6, terms=("c2p", "p2c"), max_distance=12)),
    },
    "table": GIVEN | {"num_layers": 0, "positions": NoPositions(max_positions=2**31 - 1),
                      "normalizes_embeddings": False, "attention": Attention(num_heads=1, num_kv_heads=1, head_dim=1)},
}

def numbers(value, at=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, (*at, key))
    elif isinstance(value, list):
        for key, inner in enumerate(value):
            yield from numbers(inner, (*at, key))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield at, value

def altered(content, at, value):
    copy = json.loads(json.dumps(content))
    place = copy
    for key in at[:-1]:
        place = place[key]
    place[at[-1]] = value
    try:
        copy["digest"] = msgspec.convert(copy | {"digest": ""}, Manifest).own_digest
    except (msgspec.ValidationError, OverflowError):
        pass
    return copy

def rows_of(engine, batch, output):
    rows = engine.run(batch, output)
    return rows.values if isinstance(rows, SparseVectors) else rows

def outcome(path):
    try:
        opened = open_engine_dir(path, verify=False)
        native, reference = (load_engine(opened, backend=name) for name in ("native", "reference"))
    except EngineDirError as error:
        return "refused" if error.hint and str(error).strip() else "without a hint"
    manifest = opened.manifest
    spec = manifest.spec
    lengths = [min(manifest.max_sequence_tokens, 40), min(manifest.max_sequence_tokens, 3)]
    rng = np.random.default_rng(0)
    sequences = [
        Sequence(rng.integers(0, spec.vocab_size, n).astype(np.int32), n,
                 np.full(n, max(spec.type_vocab_size, 1) - 1, np.int32)) for n in lengths
    ]
    batch = PackedBatch.pack(sequences)
    with np.errstate(all="ignore"):
        one, other = (rows_of(e, batch, "labels" if spec.task == "token_classifier" else "pooled")
                      for e in (native, reference))
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return "not finite" if np.isfinite(one).all() == np.isfinite(other).all() else "not finite in one"
    if one.shape != other.shape:
        return "of other shapes"
    scale = max(1e-30, float(np.abs(other).max()))
    return "right" if np.abs(one - other).max() / scale < 1e-3 else "wrong"

resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
path = Path(sys.argv[1])
found = {}
for name, fields in SPECS.items():
    whole = random_engine_dir(ModelSpec(**fields))
    lazy = {key: LazyTensor(t.shape, t.dtype, lambda t=t: t) for key, t in whole.tensors.items()}
    others = {"max_terms": 9, "unk_token_id": 3, "dimensions": whole.manifest.spec.output_width}
    manifest = msgspec.structs.replace(whole.manifest, max_sequence_tokens=20, **others)
    write_engine_dir(path / name, manifest, lazy, b"{}")
    content = json.loads((path / name / "engine.json").read_text())
    assert outcome(path / name) == "right", name
    for at, value in numbers(content):
        for new in (-1, 0, 1, value + 1, value - 1, 2**31, 2**62, 2**64 + 1, -(2**40)):
            print(name, at, value, "->", new, file=sys.stderr, flush=True)
            (path / name / "engine.json").write_text(json.dumps(altered(content, at, new)))
            case = " ".join([name, ".".join(map(str, at)), str(new)])
            found[case] = outcome(path / name)
print(json.dumps(found))
"""


def test_each_number_of_a_manifest_altered(tmp_path: Any) -> None:
    """In a process of its own, whose last line on stderr names the case that it crashed in."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-2000:]}"
    outcomes: dict[str, str] = json.loads(done.stdout)
    bad = {case: outcome for case, outcome in outcomes.items() if outcome not in ("refused", "right", "not finite")}
    assert not bad
    assert len(outcomes) > 1_300
    for case in (
        "bert max_sequence_tokens 21",
        "bert spec.hidden_size -1",
        "turning spec.num_layers 4611686018427387904",
    ):
        assert outcomes[case] == "refused", case


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"tensor layers\.1\.mlp\.up\.weight is none; the manifest's spec requires bfloat16 \["),
        ("short", r"tensor layers\.1\.mlp\.up\.weight is bfloat16 \[1, .*\]; the manifest's spec requires bfloat16 \["),
        ("dtype", r"tensor layers\.1\.mlp\.up\.weight is uint16 \[.*\]; the manifest's spec requires bfloat16 \["),
        ("more", r"tensor rotary\.cosines is float32 \[3\]; the manifest's spec requires none"),
        ("length", r"engine\.json: max_sequence_tokens is 513; it must be 1 to 128"),
    ],
)
def test_says_what_is_wrong(change: str, message: str, backend: str, tiny_engine_dir: EngineDir) -> None:
    name = "layers.1.mlp.up.weight"
    tensors, manifest = dict(tiny_engine_dir.tensors), tiny_engine_dir.manifest
    match change:
        case "missing":
            del tensors[name]
        case "short":
            tensors[name] = tensors[name][:1]
        case "dtype":
            tensors[name] = tensors[name].view(np.uint16)
        case "more":
            tensors["rotary.cosines"] = np.zeros(3, np.float32)
        case "length":
            manifest = msgspec.structs.replace(manifest, max_sequence_tokens=513)
    with pytest.raises(EngineDirError, match=message):
        load_engine(replace(tiny_engine_dir, manifest=manifest, tensors=tensors), backend=backend)
