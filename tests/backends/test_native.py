"""The native backend on real checkpoints against sentence-transformers, and its manners. Levels: tests/native."""

import threading
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from openbei import _native
from openbei.backends import load_engine
from openbei.backends.native import Options, load
from openbei.batch import EngineInfo, PackedBatch, Sequence
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError, EngineError
from openbei.formats.storage import Storage
from openbei.spec import DType
from openbei.tasks.embed import to_embeddings
from tests.checkpoint import build_engine, expected_vectors, tokenize
from tests.prose import texts
from tests.same_embedding import worst_cosine

OFFERED = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]


@pytest.mark.parametrize(("dtype", "at_least"), [("float32", 0.999999), ("bfloat16", 0.9995)])
def test_the_real_model(dtype: DType, at_least: float, minilm: Path, tmp_path: Path) -> None:
    given = texts(30, longest=200)
    engine_dir = build_engine(minilm, tmp_path / "engine", dtype=dtype)
    judged = expected_vectors(minilm, given)
    for isa in OFFERED:
        engine = load_engine(engine_dir, backend="native", isa=isa)
        vectors = np.asarray(engine.run(PackedBatch.pack(tokenize(engine_dir, given))))
        assert worst_cosine(to_embeddings(vectors, normalize=True), judged) >= at_least, isa


def test_says_what_runs(tiny_engine_dir: EngineDir) -> None:
    engine = load(tiny_engine_dir, Options(threads=1))
    assert str(engine.info) == f"native on cpu, {OFFERED[0]}, bfloat16, 1 thread"
    other = load(tiny_engine_dir, Options(isa="portable", threads=2))
    assert other.info == EngineInfo(backend="native", device="cpu", precision="bfloat16", isa="portable", threads=2)


def test_unknown_level(tiny_engine_dir: EngineDir) -> None:
    with pytest.raises(BackendError, match=r"mmx is not an instruction-set level\nhint: .*portable"):
        load(tiny_engine_dir, Options(isa="mmx"))


@pytest.mark.parametrize(
    ("token_ids", "cu_seqlens", "message"),
    [
        ([0, 100_000], [0, 2], "token id 100000 is outside the vocabulary"),
        ([-1], [0, 1], "token id -1 is outside the vocabulary"),
        ([1, 2], [0, 0, 2], "sequence 0 has 0 tokens, the limits are 1 and 128"),
        ([1, 2], [0, 3, 2], "sequence 1 has -1 tokens"),
        ([1] * 129, [0, 129], "sequence 0 has 129 tokens"),
        ([1, 2], [0, 1], "cu_seqlens must run from 0"),
        ([1, 2], [1, 2], "cu_seqlens must run from 0"),
    ],
)
def test_refuses(tiny_engine_dir: EngineDir, token_ids: list[int], cu_seqlens: list[int], message: str) -> None:
    engine = load(tiny_engine_dir, Options(threads=1))
    with pytest.raises(EngineError, match=message):
        engine.run(PackedBatch(np.array(token_ids, np.int32), np.array(cu_seqlens, np.int32)))
    assert engine.run(PackedBatch.pack([Sequence(np.array([1], np.int32), 1)])).shape == (1, 64)


def test_refuses_arrays_of_another_type(tiny_engine_dir: EngineDir) -> None:
    engine = load(tiny_engine_dir, Options(threads=1))
    with pytest.raises(EngineError, match="refused a batch"):
        engine.run(PackedBatch(np.array([1.0]), np.array([0, 1], np.int32)))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["missing", "short"])
def test_refuses_tensors_that_do_not_fit(change: str, tiny_engine_dir: EngineDir) -> None:
    name = "layers.1.mlp.up.weight"
    tensors = dict(tiny_engine_dir.tensors)
    if change == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:1]
    spoilt = EngineDir(tiny_engine_dir.path, tiny_engine_dir.manifest, tensors)
    with pytest.raises(BackendError, match=f"tensor {name}"):
        load(spoilt, Options(threads=1))


def test_refuses_weights_of_several_formats(tiny_engine_dir: EngineDir) -> None:
    manifest = tiny_engine_dir.manifest
    storage = manifest.storage | {"layers.1.mlp.up.weight": Storage("float32", "panels")}
    mixed = replace(tiny_engine_dir, manifest=msgspec.structs.replace(manifest, storage=storage))
    with pytest.raises(
        BackendError, match="weights in the formats bfloat16, float32; the native backend needs a single format"
    ):
        load(mixed, Options())


def test_runs_without_the_gil(tiny_engine_dir: EngineDir) -> None:
    engine = load(tiny_engine_dir, Options(isa="portable", threads=1))
    batch = PackedBatch.pack([Sequence(np.ones(128, np.int32), 128)] * 200)
    running = threading.Event()

    def run() -> None:
        running.set()
        engine.run(batch)

    thread = threading.Thread(target=run)
    thread.start()
    running.wait()
    num_turns = 0
    while thread.is_alive():
        num_turns += 1
    assert num_turns > 10
