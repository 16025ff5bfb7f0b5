"""Checkpoints with one corrupted file: a build refuses them, naming the cause, or makes an engine that runs."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openbei.backends import load_engine
from openbei.batch import Output, PackedBatch, SparseVectors
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError, OpenbeiError
from openbei.serving.tokenizer import Tokenizer
from tests.build import corruption
from tests.checkpoint import build_engine

EXAMPLES = 100
"""A small sample of about 60,000 possible changes, to keep the test fast."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> dict[str, Path]:
    """A checkpoint of each kind. Read only."""
    return corruption.save_kinds(tmp_path_factory.mktemp("kinds"), tokenizer_json)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the copy of a checkpoint and its engine."""
    return tmp_path_factory.mktemp("scratch")


def run(engine_dir: EngineDir, backend: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The engine's output for a text and a pair, flattened."""
    tokenizer = Tokenizer.open(engine_dir)
    sequences = tokenizer.encode(["a class of objects"]) + tokenizer.encode_pairs([("what", "is an object")])
    output: Output = "labels" if engine_dir.manifest.spec.task == "token_classifier" else "pooled"
    rows = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences), output)
    return np.asarray(rows.values if isinstance(rows, SparseVectors) else rows, np.float64).ravel()


def check(checkpoint: Path, out: Path) -> None:
    """Check that a build either succeeds with a correct engine, or fails with a message that names a file or tensor."""
    shutil.rmtree(out, ignore_errors=True)
    try:
        engine_dir = build_engine(checkpoint, out / "engine")
    except OpenbeiError as error:
        message = error.message
    else:
        check_engine(engine_dir)
        return
    assert re.search(r"\.json|\.safetensors|tensor", message), message
    assert not out.exists() or not list(out.iterdir())


def check_engine(engine_dir: EngineDir) -> None:
    """Check that both backends give finite numbers with the same direction."""
    native, reference = run(engine_dir, "native"), run(engine_dir, "reference")
    assert np.isfinite(native).all()
    assert np.isfinite(reference).all()
    product = float(np.linalg.norm(native) * np.linalg.norm(reference))
    assert product == 0 or native @ reference / product >= 0.999


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_change(data: st.DataObject, checkpoints: dict[str, Path], scratch: Path) -> None:
    checkpoint = checkpoints[data.draw(st.sampled_from(sorted(checkpoints)))]
    file = data.draw(st.sampled_from(corruption.files_of(checkpoint)))
    before = (checkpoint / file).read_bytes()
    is_weights = file.endswith(".safetensors")
    text, tensors = corruption.split_safetensors(before) if is_weights else (before.decode(), b"")
    paths = list(corruption.paths_in(json.loads(text))) if is_weights or file.endswith("config.json") else []
    change = data.draw(
        st.sampled_from(["value", "value", "value", "file", "truncation"] if paths else ["file", "truncation"])
    )
    after: bytes | None
    match change:
        case "value":
            value = data.draw(st.none() | st.sampled_from(corruption.VALUES))
            changed = corruption.replace_value(text, data.draw(st.sampled_from(paths)), value)
            after = corruption.join_safetensors(changed, tensors) if is_weights else changed.encode()
        case "file":
            after = data.draw(st.none() | st.sampled_from(corruption.FILES))
        case _:
            after = before[: data.draw(st.integers(0, len(before)))]
    check(corruption.copy_with(checkpoint, scratch / "checkpoint", file, after), scratch / "out")


DEEP = corruption.VALUES[-1]
CASES: dict[str, tuple[str, str, tuple[str | int, ...], str, str]] = {
    "layers": ("bert", "config.json", ("num_hidden_layers",), "1000000000", "num_hidden_layers"),
    "vocabulary": ("bert", "config.json", ("vocab_size",), "1000000000000", "vocab_size"),
    "layers of experts": ("nomic", "config.json", ("n_layer",), "4096", "num_hidden_layers"),
    "experts": ("nomic", "config.json", ("num_experts",), "1024", "num_experts"),
    "head": ("qwen3", "config.json", ("head_dim",), "16777216", "the rotary dimension is 16777216; .* 2 to 65536"),
    "scale": ("gemma3", "config.json", ("query_pre_attn_scalar",), "1e-30", "query_pre_attn_scalar"),
    "attention factor": (
        "llama",
        "config.json",
        ("rope_parameters", "attention_factor"),
        "1e30",
        "frequencies up to 1.0 and the factor 1e.30",
    ),
    "rope overflow": ("llama", "config.json", ("rope_parameters", "beta_fast"), "1e-320", "invalid rope_parameters: "),
    "zero length": ("bert", "sentence_bert_config.json", ("max_seq_length",), "0", "max_seq_length"),
    "negative length": ("qwen3", "tokenizer_config.json", ("model_max_length",), "-1", "model_max_length"),
    "token id": ("qwen3", "1_LogitScore/config.json", ("true_token_id",), "1099511627776", "true_token_id"),
    "activation": ("distilbert", "1_SpladePooling/config.json", ("activation_function",), "[1]", "activation_function"),
    "long path": (
        "bert",
        "modules.json",
        (2, "path"),
        f'"{"x" * 5000}"',
        "config.json cannot be read: File name too long",
    ),
    "invalid path": ("bert", "modules.json", (2, "path"), r'"\u0000"', "config.json: embedded null byte"),
    "deep": ("bert", "config.json", ("hidden_act",), DEEP, "config.json: .*recursion"),
    "deep header": ("bert", "model.safetensors", ("__metadata__",), DEEP, "not safetensors: .*recursion"),
}


@pytest.mark.parametrize(("kind", "file", "path", "value", "message"), CASES.values(), ids=CASES)
def test_refuses(
    kind: str,
    file: str,
    path: corruption.JsonPath,
    value: str,
    message: str,
    checkpoints: dict[str, Path],
    scratch: Path,
) -> None:
    """Changes that `test_one_change` once found to break a build. Large sizes are refused before any allocation."""
    before = (checkpoints[kind] / file).read_bytes()
    text, tensors = corruption.split_safetensors(before) if file.endswith(".safetensors") else (before.decode(), b"")
    after = corruption.replace_value(text, path, value)
    content = corruption.join_safetensors(after, tensors) if tensors else after.encode()
    checkpoint = corruption.copy_with(checkpoints[kind], scratch / "checkpoint", file, content)
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint, scratch / "out/engine")
