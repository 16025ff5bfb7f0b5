"""The reference backend against sentence-transformers, and its manners."""

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei import backends
from openbei.backends import load_engine
from openbei.backends.activations import ACTIVATIONS, erf
from openbei.backends.device_choice import choose_device
from openbei.batch import PackedBatch, Sequence
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError, EngineError
from openbei.gpus import Gpus
from openbei.spec import DType
from openbei.tasks.embed import to_embeddings
from tests.checkpoint import build_engine, expected_vectors, tokenize
from tests.prose import texts
from tests.same_embedding import worst_cosine

CONFIGS: dict[str, dict[str, Any]] = {
    "mean": {},
    "cls, no Normalize": {"pooling": "cls", "normalize": False, "seed": 1},
    "last token, one type": {"pooling": "lasttoken", "type_vocab_size": 1, "seed": 2},
    "ragged sizes": {"hidden_size": 35, "num_attention_heads": 5, "intermediate_size": 51, "seed": 3},
    "one head, one layer": {"hidden_size": 13, "num_attention_heads": 1, "num_hidden_layers": 1, "seed": 4},
    "deep and narrow": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 5, "seed": 5},
    "tanh gelu": {"hidden_act": "gelu_new", "seed": 6},
    "relu": {"hidden_act": "relu", "seed": 7},
    "silu": {"hidden_act": "silu", "layer_norm_eps": 1e-3, "seed": 8},
}


def embed(engine_dir: EngineDir, given: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    engine = load_engine(engine_dir, backend="reference")
    pooled = np.asarray(engine.run(PackedBatch.pack(tokenize(engine_dir, given))))
    return to_embeddings(pooled, normalize=engine_dir.manifest.normalize)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_same_as_sentence_transformers(
    config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(**config)
    given = texts(24, longest=150)  # words; the longest are cut to the model's 128 positions
    judged = expected_vectors(checkpoint, given)
    assert worst_cosine(judged[1:], judged[:-1]) < 0.9, "the texts must differ, or the next line says nothing"
    assert worst_cosine(embed(build_engine(checkpoint, tmp_path / "engine"), given), judged) >= 0.99999


@pytest.mark.parametrize(("dtype", "at_least"), [("float32", 0.999999), ("bfloat16", 0.9995)])
def test_the_real_model(dtype: DType, at_least: float, minilm: Path, tmp_path: Path) -> None:
    given = texts(30, longest=200)
    engine_dir = build_engine(minilm, tmp_path / "engine", dtype=dtype)
    assert worst_cosine(embed(engine_dir, given), expected_vectors(minilm, given)) >= at_least


def test_pooled_is_made_of_tokens(tiny_engine_dir: EngineDir) -> None:
    engine = load_engine(tiny_engine_dir, backend="reference")
    sequences = tokenize(tiny_engine_dir, texts(5, longest=40))
    tokens = engine.run(PackedBatch.pack(sequences), "tokens")
    assert tokens.shape == (sum(s.num_tokens for s in sequences), tiny_engine_dir.manifest.spec.hidden_size)
    first = tokens[: sequences[0].num_tokens].mean(axis=0)
    alone = engine.run(PackedBatch.pack(sequences[:1]))
    assert np.allclose(alone[0], first, atol=1e-5)
    assert alone.dtype == tokens.dtype == np.float32


@pytest.mark.parametrize(
    ("token_ids", "cu_seqlens", "message"),
    [
        ([0, 100_000], [0, 2], "vocabulary is 0 to"),
        ([-1], [0, 1], "vocabulary is 0 to"),
        ([1, 2], [0, 0, 2], "0 to 2 tokens; allowed are 1 to 128"),
        ([1] * 129, [0, 129], "129 tokens; allowed are 1 to 128"),
        ([1, 2], [0, 1], "cu_seqlens"),
        ([], [0], "cu_seqlens"),
    ],
)
def test_refuses(tiny_engine_dir: EngineDir, token_ids: list[int], cu_seqlens: list[int], message: str) -> None:
    engine = load_engine(tiny_engine_dir, backend="reference")
    with pytest.raises(EngineError, match=message):
        engine.run(PackedBatch(np.array(token_ids, np.int32), np.array(cu_seqlens, np.int32)))


def test_activations() -> None:
    x = np.linspace(-8, 8, 10_001).astype(np.float32)
    assert np.abs(erf(x) - [math.erf(value) for value in x]).max() < 6e-7
    assert np.abs(ACTIVATIONS["tanh"](x) - np.tanh(x)).max() < 1e-6
    assert np.abs(ACTIVATIONS["sigmoid"](x) - 1 / (1 + np.exp(-x))).max() < 1e-6
    for name, activation in ACTIVATIONS.items():
        assert activation(x).dtype == np.float32
        if name in ("sigmoid", "tanh"):
            continue
        assert abs(activation(x)[0]) < 3e-3
        assert activation(x)[-1] == pytest.approx(8, abs=3e-3)


def test_unknown_choices(tiny_engine_dir: EngineDir) -> None:
    with pytest.raises(BackendError, match=r"no backend 'tpu'\nhint: backends: cuda, native, reference"):
        load_engine(tiny_engine_dir, backend="tpu")
    with pytest.raises(BackendError, match=r"the reference backend has no option isa\nhint: its options: none"):
        load_engine(tiny_engine_dir, backend="reference", isa="avx2")
    with pytest.raises(BackendError, match=r"the native backend has no option streams\nhint: .*: isa, threads"):
        load_engine(tiny_engine_dir, backend="native", streams=2)
    with pytest.raises(BackendError, match="the native backend does not run on --device cuda"):
        load_engine(tiny_engine_dir, device="cuda", backend="native")


def test_defaults_of_other_backends_have_no_effect(
    tiny_engine_dir: EngineDir, caplog: pytest.LogCaptureFixture
) -> None:
    defaults = {"isa": "portable", "threads": 1}
    assert load_engine(tiny_engine_dir, backend="native", defaults=defaults).info.isa == "portable"
    assert "no effect" not in caplog.text
    load_engine(tiny_engine_dir, backend="reference", defaults=defaults)
    assert "the option isa has no effect on the reference backend" in caplog.text


def test_no_gpu(tiny_engine_dir: EngineDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    found = Gpus(missing="no NVIDIA driver")
    monkeypatch.setattr(backends, "choose_device", partial(choose_device, find=lambda: found))
    with pytest.raises(BackendError, match=r"--device cuda is not available: no NVIDIA driver\nhint: use --device cpu"):
        load_engine(tiny_engine_dir, device="cuda")
    with caplog.at_level(logging.INFO):
        assert load_engine(tiny_engine_dir).info.device == "cpu"
    assert "(no NVIDIA driver)" in caplog.text


def test_an_engine_for_another_device(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """With weights as GPUs read them the reference backend runs it, and the native one refuses it by name."""
    sequences = [Sequence(np.arange(5, 25, dtype=np.int32), 20)]
    engine_dir = build_engine(tiny_checkpoint, tmp_path / "engine", dtype="bfloat16", target="cuda")
    with pytest.raises(BackendError, match=r"was built for cuda: its tensor \S+ is bfloat16 in row_major, which the n"):
        load_engine(engine_dir, backend="native")
    other = build_engine(tiny_checkpoint, tmp_path / "other", dtype="bfloat16")
    batch = PackedBatch.pack(sequences)
    found, expected = (load_engine(one, backend="reference").run(batch) for one in (engine_dir, other))
    assert np.array_equal(np.asarray(found), np.asarray(expected))
