"""Every instruction-set level that this CPU has, or that can be emulated on it, against the reference backend."""

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from openbei import _native
from openbei.backends.native import encoder_over
from openbei.backends.reference import ReferenceEngine
from openbei.batch import PackedBatch, Sequence, Vectors
from openbei.engine_dir import EngineDir
from openbei.spec import DType
from tests.native.conftest import MakeEngineDir, MakeSpec
from tests.same_embedding import worst_cosine

OFFERED = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]

# hidden, heads, head_dim, inner: multiples of every tile, of none, single columns, odd heads, more than one depth block
SHAPES = [
    (64, 2, 32, 96),
    (384, 12, 32, 1536),
    (36, 3, 12, 50),
    (40, 5, 8, 33),
    (20, 4, 5, 7),
    (33, 1, 33, 64),
    (96, 3, 48, 130),
    (128, 2, 64, 600),
    (512, 4, 128, 1056),
    (16, 2, 96, 32),
]
LENGTHS = [
    [1],
    [2, 1, 3],
    [17],
    [31, 32, 33],
    [90, 5, 64, 1, 140],
    [300, 12],
    [513],
    [1025, 16, 15],
]


def random_batch(lengths: list[int], seed: int = 1) -> PackedBatch:
    rng = np.random.default_rng(seed)
    return PackedBatch.pack(Sequence(rng.integers(0, 211, n).astype(np.int32), n) for n in lengths)


def run_tokens(encoder: _native.Encoder, batch: PackedBatch, hidden_size: int) -> Vectors:
    out = np.empty((batch.num_tokens, hidden_size), np.float32)
    encoder.run(batch.token_ids, batch.cu_seqlens, "tokens", out)
    return out


def check_tokens(engine_dir: EngineDir, encoder: _native.Encoder, lengths: list[int]) -> None:
    batch = random_batch(lengths)
    expected = ReferenceEngine(engine_dir).run(batch, "tokens")
    actual = run_tokens(encoder, batch, engine_dir.manifest.spec.hidden_size)
    assert worst_cosine(actual, expected) >= {"float32": 0.99999, "bfloat16": 0.999}[engine_dir.manifest.dtype]


@pytest.mark.parametrize("isa", OFFERED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_agree_with_reference(
    isa: str, dtype: DType, shape: tuple[int, int, int, int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(*shape), dtype)
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=2), [1, 17, 45, 33])


@pytest.mark.parametrize("isa", OFFERED)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_lengths_agree_with_reference(
    isa: str, threads: int, lengths: list[int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50))
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=threads), lengths)


@pytest.mark.parametrize("isa", OFFERED)
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu", "silu"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_agree_with_reference(
    isa: str, activation: str, dtype: DType, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(activation=activation), dtype)
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=1), [40, 3])


@pytest.mark.parametrize("isa", OFFERED)
@pytest.mark.parametrize("pooling", ["cls", "mean", "last_token"])
def test_poolings_agree_with_reference(
    isa: str, pooling: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50), pooling=pooling)
    batch = random_batch([1, 40, 7])
    actual = np.empty((3, 36), np.float32)
    encoder_over(engine_dir, isa=isa, threads=2).run(batch.token_ids, batch.cu_seqlens, pooling, actual)
    assert worst_cosine(actual, ReferenceEngine(engine_dir).run(batch)) >= 0.99999


@pytest.mark.parametrize("isa", OFFERED)
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_alone_equals_in_batch(isa: str, threads: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec(), "bfloat16")
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    batch = random_batch([7, 300, 1, 33, 90, 17, 64])
    together = run_tokens(encoder, batch, 64)
    for begin, end in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
        single = PackedBatch(batch.token_ids[begin:end], np.array([0, end - begin], np.int32))
        np.testing.assert_array_equal(run_tokens(encoder, single, 64), together[begin:end])


@pytest.fixture(scope="module")
def amx_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.CDLL]:
    if "amx_bf16" in OFFERED:
        pytest.skip("this CPU has AMX itself")
    if "avx512_bf16" not in OFFERED:
        pytest.skip("the AMX level needs AVX512_BF16 beside the emulated tiles")
    compiler = shutil.which("c++") or pytest.skip("there is no C++ compiler")
    library = tmp_path_factory.mktemp("amx") / "amx_emulator.so"
    source = Path(__file__).with_name("amx_emulator.cpp")
    subprocess.run([compiler, "-std=c++20", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    emulator = ctypes.CDLL(str(library))
    emulator.instructions_executed.restype = ctypes.c_uint64
    emulator.install()
    yield emulator
    emulator.uninstall()


@pytest.mark.parametrize("shape", [(36, 3, 12, 50), (64, 2, 32, 96), (40, 1, 48, 1100)], ids=str)
@pytest.mark.parametrize("lengths", [[1], [17, 2, 33], [150]], ids=str)
def test_emulated_amx_agrees_with_reference(
    shape: tuple[int, int, int, int],
    lengths: list[int],
    amx_emulator: ctypes.CDLL,
    make_spec: MakeSpec,
    make_engine_dir: MakeEngineDir,
) -> None:
    before = amx_emulator.instructions_executed()
    engine_dir = make_engine_dir(make_spec(*shape, layers=1), "bfloat16")
    check_tokens(engine_dir, encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_offered=True), lengths)
    assert amx_emulator.instructions_executed() > before


def test_levels_that_are_not_offered_are_refused(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec())
    with pytest.raises(ValueError, match="not an instruction-set level"):
        encoder_over(engine_dir, isa="mmx")
    for name, compiled, missing in _native.isa_levels():
        if not compiled or missing:
            with pytest.raises(ValueError, match=name):
                encoder_over(engine_dir, isa=name)
