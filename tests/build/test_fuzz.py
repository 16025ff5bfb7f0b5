"""Checkpoints with something wrong in a file: a build refuses them, naming what, or makes an engine that runs."""

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
from tests.build import spoiling
from tests.checkpoint import build_engine

EXAMPLES = 100
"""A few seconds. All that one change can do is about 60,000."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> dict[str, Path]:
    """One of each kind. Read only."""
    return spoiling.save_kinds(tmp_path_factory.mktemp("kinds"), tokenizer_json)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the copy of an example, and what is built of it."""
    return tmp_path_factory.mktemp("scratch")


def run(engine_dir: EngineDir, backend: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Everything that an engine makes of a text and a pair."""
    tokenizer = Tokenizer.open(engine_dir)
    sequences = tokenizer.encode(["a class of objects"]) + tokenizer.encode_pairs([("what", "is an object")])
    output: Output = "labels" if engine_dir.manifest.spec.task == "token_classifier" else "pooled"
    rows = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences), output)
    return np.asarray(rows.values if isinstance(rows, SparseVectors) else rows, np.float64).ravel()


def check(checkpoint: Path, out: Path) -> None:
    """What must hold of any checkpoint."""
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
    """Both backends make finite numbers of the same direction."""
    ours, theirs = run(engine_dir, "native"), run(engine_dir, "reference")
    assert np.isfinite(ours).all()
    assert np.isfinite(theirs).all()
    product = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    assert product == 0 or ours @ theirs / product >= 0.999


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_change(data: st.DataObject, checkpoints: dict[str, Path], scratch: Path) -> None:
    checkpoint = checkpoints[data.draw(st.sampled_from(sorted(checkpoints)))]
    file = data.draw(st.sampled_from(spoiling.files_of(checkpoint)))
    before = (checkpoint / file).read_bytes()
    is_weights = file.endswith(".safetensors")
    text, tensors = spoiling.header_of(before) if is_weights else (before.decode(), b"")
    places = list(spoiling.places(json.loads(text))) if is_weights or file.endswith("config.json") else []
    what = data.draw(st.sampled_from(["value", "value", "value", "file", "cut"] if places else ["file", "cut"]))
    after: bytes | None
    match what:
        case "value":
            value = data.draw(st.none() | st.sampled_from(spoiling.VALUES))
            spoilt = spoiling.replaced(text, data.draw(st.sampled_from(places)), value)
            after = spoiling.with_header(spoilt, tensors) if is_weights else spoilt.encode()
        case "file":
            after = data.draw(st.none() | st.sampled_from(spoiling.FILES))
        case _:
            after = before[: data.draw(st.integers(0, len(before)))]
    check(spoiling.spoilt(checkpoint, scratch / "checkpoint", file, after), scratch / "out")


DEEP = spoiling.VALUES[-1]
CASES: dict[str, tuple[str, str, tuple[str | int, ...], str, str]] = {
    "layers": ("bert", "config.json", ("num_hidden_layers",), "1000000000", "num_hidden_layers"),
    "vocabulary": ("bert", "config.json", ("vocab_size",), "1000000000000", "vocab_size"),
    "layers of experts": ("nomic", "config.json", ("n_layer",), "4096", "num_hidden_layers"),
    "experts": ("nomic", "config.json", ("num_experts",), "1024", "num_experts"),
    "head": ("qwen3", "config.json", ("head_dim",), "16777216", "16777216 columns of a head turn; .* 2 to 65536"),
    "scale": ("gemma3", "config.json", ("query_pre_attn_scalar",), "1e-30", "query_pre_attn_scalar"),
    "turns": (
        "llama",
        "config.json",
        ("rope_parameters", "attention_factor"),
        "1e30",
        "turn by up to 1.0, times 1e.30",
    ),
    "no turns": ("llama", "config.json", ("rope_parameters", "beta_fast"), "1e-320", "rope_parameters cannot be comp"),
    "no text": ("bert", "sentence_bert_config.json", ("max_seq_length",), "0", "max_seq_length"),
    "less than no text": ("qwen3", "tokenizer_config.json", ("model_max_length",), "-1", "model_max_length"),
    "no word": ("qwen3", "1_LogitScore/config.json", ("true_token_id",), "1099511627776", "true_token_id"),
    "activation": ("distilbert", "1_SpladePooling/config.json", ("activation_function",), "[1]", "activation_function"),
    "long path": (
        "bert",
        "modules.json",
        (2, "path"),
        f'"{"x" * 5000}"',
        "config.json cannot be read: File name too long",
    ),
    "no path": ("bert", "modules.json", (2, "path"), r'"\u0000"', "config.json: embedded null byte"),
    "deep": ("bert", "config.json", ("hidden_act",), DEEP, "config.json: .*recursion"),
    "deep header": ("bert", "model.safetensors", ("__metadata__",), DEEP, "not safetensors: .*recursion"),
}


@pytest.mark.parametrize(("kind", "file", "place", "value", "message"), CASES.values(), ids=CASES)
def test_refuses(
    kind: str,
    file: str,
    place: spoiling.Place,
    value: str,
    message: str,
    checkpoints: dict[str, Path],
    scratch: Path,
) -> None:
    """What `test_one_change` found once; sizes before anything is made of them."""
    before = (checkpoints[kind] / file).read_bytes()
    text, tensors = spoiling.header_of(before) if file.endswith(".safetensors") else (before.decode(), b"")
    after = spoiling.replaced(text, place, value)
    content = spoiling.with_header(after, tensors) if tensors else after.encode()
    checkpoint = spoiling.spoilt(checkpoints[kind], scratch / "checkpoint", file, content)
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint, scratch / "out/engine")
