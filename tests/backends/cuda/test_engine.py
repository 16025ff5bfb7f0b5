"""The engine on a CPU: batches against the reference backend, faults of the device, and too little memory."""

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from openbei.backends import cuda
from openbei.backends.cuda.engine import CudaEngine
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.reference import ReferenceEngine
from openbei.batch import PackedBatch, SparseVectors, head_output
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError, EngineError, EngineLostError
from openbei.formats import FORMATS
from openbei.formats.storage import Storage
from openbei.gpus import Capability
from openbei.spec import EmbeddingHead, NoPositions, TokenTermHead
from tests.dense_rows import dense_rows
from tests.random_engine import random_engine_dir
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch, small_spec
from tests.spec_axes import AXES, HEADS

CPU = torch.device("cpu")
GIB = 1 << 30


def load(engine_dir: EngineDir, *, free_bytes: int = GIB) -> CudaEngine:
    return cuda.load_on(engine_dir, CPU, free_bytes=free_bytes, capability=Capability(9, 0))


@pytest.mark.parametrize("head", ["mean", "a score", "labels", "token labels", "terms"])
def test_batches_in_flight(head: str) -> None:
    """Two are started before the first is finished."""
    engine_dir = random_engine_dir(small_spec(36, 3, 12, 50, head=HEADS[head]))
    engine, reference = load(engine_dir), ReferenceEngine(engine_dir)
    output = head_output(HEADS[head])
    batches = [random_batch([5, 40, 1], seed=1), random_batch([17, 2], seed=2)]
    finishes = [engine.start(batch, output) for batch in batches]
    assert engine.max_in_flight == 2
    for batch, finish in zip(batches, finishes, strict=True):
        rows, expected = finish(), reference.run(batch, output)
        if isinstance(rows, SparseVectors):
            assert isinstance(expected, SparseVectors)
            rows, expected = dense_rows(rows), dense_rows(expected)
        assert np.allclose(rows, expected, atol=1e-4)
        assert rows.dtype == np.float32


def test_term_weights_of_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    engine_dir = random_engine_dir(small_spec(36, 3, 12, 50, head=HEADS["terms"]))
    monkeypatch.setattr("openbei.backends.cuda.engine.MAX_TERMS", 3 * 211)
    batch = random_batch([5, 4, 1, 30, 2, 9, 9])
    rows, expected = load(engine_dir).run(batch), ReferenceEngine(engine_dir).run(batch)
    assert isinstance(rows, SparseVectors)
    assert isinstance(expected, SparseVectors)
    assert np.allclose(dense_rows(rows), dense_rows(expected), atol=1e-4)


def test_weights_of_the_texts_own_tokens() -> None:
    static = {"layers": 0, "normalizes_embeddings": False, "type_vocab_size": 0}
    spec = small_spec(1, head=TokenTermHead(), positions=NoPositions(max_positions=64), **static)
    engine_dir, batch = random_engine_dir(spec), random_batch([5, 40])
    rows, expected = load(engine_dir).run(batch), ReferenceEngine(engine_dir).run(batch)
    assert isinstance(rows, SparseVectors)
    assert isinstance(expected, SparseVectors)
    assert np.allclose(dense_rows(rows), dense_rows(expected))


@pytest.mark.parametrize("axis", ["causal, grouped heads", "sandwich of RMS norms", "gated", "disentangled", "experts"])
def test_sixteen_bits(axis: str) -> None:
    """float16 in post-norm models, bfloat16 with a float32 residual stream in the others."""
    engine_dir = random_engine_dir(small_spec(72, 6, 12, 96, **AXES[axis]), "bfloat16")
    engine, batch = load(engine_dir), random_batch([40, 3, 65])
    is_post = engine_dir.manifest.spec.placement == "post"
    assert engine.info.precision == ("float16" if is_post else "bfloat16")
    actual, expected = engine.run(batch), ReferenceEngine(engine_dir).run(batch)
    assert worst_cosine(np.asarray(actual), np.asarray(expected)) > (0.9999 if is_post else 0.998)


def test_invalid_batches() -> None:
    """They never reach the device, where they would poison it."""
    engine = load(random_engine_dir(small_spec()))
    for batch in (
        PackedBatch(np.array([0, 211], np.int32), np.array([0, 2], np.int32)),
        PackedBatch(np.array([-1], np.int32), np.array([0, 1], np.int32)),
        PackedBatch(np.array([1, 2], np.int32), np.array([0, 0, 2], np.int32)),
        PackedBatch(np.ones(1101, np.int32), np.array([0, 1101], np.int32)),
        replace(random_batch([3]), num_excluded=np.array([3], np.int32)),
    ):
        with pytest.raises(EngineError):
            engine.start(batch)
    with pytest.raises(EngineError, match="embedding models have no output 'labels'"):
        engine.start(random_batch([3]), "labels")


class Faulty(TorchOps):
    """Raises an error in a batch of more than so many tokens."""

    def __init__(self, error: RuntimeError, most_tokens: int) -> None:
        super().__init__(torch.float32)
        self.error, self.most_tokens = error, most_tokens
        self.num_tokens: list[int] = []

    def embed(self, tables: object, rows: tuple[torch.Tensor, ...], **options: object) -> torch.Tensor:
        self.num_tokens.append(len(rows[0]))
        if len(rows[0]) > self.most_tokens:
            raise self.error
        return super().embed(tables, rows, **options)  # type: ignore[arg-type]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[CudaEngine, Faulty]]:
    def make(error: RuntimeError, most_tokens: int) -> tuple[CudaEngine, Faulty]:
        ops = Faulty(error, most_tokens)
        monkeypatch.setattr(cuda, "_ops", lambda device, dtype, capability: ops)
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        return load(random_engine_dir(small_spec(head=EmbeddingHead(poolings=("mean",))))), ops

    return make


def test_a_batch_that_does_not_fit_is_split(
    faulty: Callable[..., tuple[CudaEngine, Faulty]], caplog: pytest.LogCaptureFixture
) -> None:
    engine, ops = faulty(torch.OutOfMemoryError("CUDA out of memory"), 30)
    batch = random_batch([20, 9, 15, 10, 30])
    rows = np.asarray(engine.run(batch))
    assert len(rows) == 5
    alone = np.concatenate([np.asarray(engine.run(batch.part(i, i + 1))) for i in range(5)])
    assert np.allclose(rows, alone, atol=1e-6)
    assert "does not fit in GPU memory; it is split" in caplog.text
    assert max(ops.num_tokens) == 84


def test_a_text_that_does_not_fit_fails_alone(faulty: Callable[..., tuple[CudaEngine, Faulty]]) -> None:
    engine, _ = faulty(torch.OutOfMemoryError("CUDA out of memory"), 30)
    with pytest.raises(EngineError, match=r"too little free memory for a text of 31 tokens(.|\n)*lower max_num_tokens"):
        engine.start(random_batch([31]))
    assert len(np.asarray(engine.run(random_batch([30])))) == 1


def test_a_failed_kernel(faulty: Callable[..., tuple[CudaEngine, Faulty]], monkeypatch: pytest.MonkeyPatch) -> None:
    engine, _ = faulty(torch.AcceleratorError("CUDA error: invalid argument"), 30)
    with pytest.raises(EngineError) as caught:
        engine.start(random_batch([31]))
    assert not isinstance(caught.value, EngineLostError)

    def refuse(*arguments: object, **options: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch, "ones", refuse)
    with pytest.raises(EngineLostError, match=r"can run nothing more(.|\n)*restart the process"):
        engine.start(random_batch([31]))


@pytest.mark.parametrize("head", ["mean", "token labels", "terms"])
def test_warming_up(head: str) -> None:
    engine_dir = random_engine_dir(small_spec(head=HEADS[head]))
    cuda.warm_up(load(engine_dir))


def test_a_gpu_that_fails_at_the_start(faulty: Callable[..., tuple[CudaEngine, Faulty]]) -> None:
    engine, _ = faulty(torch.AcceleratorError("CUDA error: no kernel image is available"), 0)
    with pytest.raises(BackendError, match=r"the GPU cannot run the model: .*no kernel image(.|\n)*use --device cpu"):
        cuda.warm_up(engine)


def test_memory_that_does_not_suffice(caplog: pytest.LogCaptureFixture) -> None:
    engine_dir = random_engine_dir(small_spec(512, 4, 128, 1056))
    needed = sum(array.nbytes for array in engine_dir.tensors.values())
    with pytest.raises(BackendError, match=r"needs \d\.\d\d GiB .*are free on cpu\nhint: use a GPU with more memory"):
        load(engine_dir, free_bytes=needed // 2)
    with pytest.raises(BackendError, match=r"a text of 1100 tokens; .* free on cpu\nhint: lower max_num_tokens"):
        load(engine_dir, free_bytes=needed + (1 << 20))
    with caplog.at_level(logging.WARNING):
        assert 1100 <= load(engine_dir, free_bytes=needed + (40 << 20)).batch_tokens < cuda.BATCH_TOKENS
    assert "batches are limited to" in caplog.text
    assert load(engine_dir).batch_tokens == cuda.BATCH_TOKENS


def test_weights_that_do_not_fit_after_all() -> None:
    """Another process took the memory that was free."""

    def refuse(array: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine_dir, h100 = random_engine_dir(small_spec()), Capability(9, 0)
    with pytest.raises(BackendError, match="the weights do not fit on cpu: CUDA out of memory"):
        cuda.load_on(engine_dir, CPU, free_bytes=GIB, capability=h100, to_device=refuse)


def test_memory_is_not_underestimated() -> None:
    spec = small_spec(512, 4, 128, 1056)
    engine_dir = random_engine_dir(spec)
    num_bytes = sum(array.nbytes for array in engine_dir.tensors.values())
    assert cuda.memory.weight_bytes(engine_dir.manifest, 4) >= 0.95 * num_bytes


def test_a_batch_that_fails_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a kernel appears when its result is read; whether the device still works decides."""
    engine = load(random_engine_dir(small_spec()))

    def fail() -> None:
        raise torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")

    monkeypatch.setattr("openbei.backends.cuda.engine.download", lambda rows: fail)
    finish = engine.start(random_batch([3]))
    with pytest.raises(EngineError, match=r"the GPU failed to run a batch: .*ECC") as caught:
        finish()
    assert not isinstance(caught.value, EngineLostError)
    finish = engine.start(random_batch([3]))
    monkeypatch.setattr(engine, "_works", lambda: False)
    with pytest.raises(EngineLostError, match=r"the GPU can run nothing more: .*ECC"):
        finish()


def test_what_it_reads() -> None:
    assert set(FORMATS) == {name for name in FORMATS if cuda.reads("weight", Storage(name, "row_major"))}
    for layout in ("panels", "row_major"):
        assert cuda.reads("weight", Storage("bfloat16", layout))
    assert not cuda.reads("weight", Storage("int4", "row_major"))


def test_a_torch_without_cuda(tiny_engine_dir: EngineDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BackendError, match="was built without CUDA"):
        cuda.load(tiny_engine_dir, cuda.Options())


def test_a_driver_that_is_too_old(tiny_engine_dir: EngineDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040)")

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", refuse)
    with pytest.raises(BackendError, match=r"built for CUDA 13.0 and cannot use the GPU: .*too old(.|\n)*update the"):
        cuda.load(tiny_engine_dir, cuda.Options())
