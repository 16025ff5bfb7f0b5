"""Every instruction-set level that this CPU supports, or that can be emulated, against the reference backend."""

import ctypes
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from openbei import _native
from openbei.absorbed import absorbs
from openbei.backends.native import NativeEngine, encoder_over
from openbei.backends.reference import ReferenceEngine
from openbei.batch import Output, PackedBatch, Rows, SparseVectors, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import EngineError
from openbei.formats.panels import padded
from openbei.spec import (
    Activation,
    Convolution,
    DistanceBias,
    DType,
    EmbeddingHead,
    Experts,
    LayerNorm,
    LocalLayers,
    Pooling,
    TokenHead,
)
from tests.axes import AXES, HEADS, LAYER_NORM, NO_TABLES, ROTARY, attention, random_batch
from tests.dense_rows import dense_rows
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.same_embedding import worst_cosine

# hidden, heads, head_dim, inner: multiples of every tile size and of none, odd and wide heads, many depths
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
    (48, 1, 640, 64),
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


def run(encoder: _native.Encoder, batch: PackedBatch, width: int, *, skips_head: bool = True, rows: int = 0) -> Vectors:
    out = np.full((rows or batch.num_tokens, padded(width)), np.nan, np.float32)
    encoder.run(batch.token_ids, batch.cu_seqlens, batch.type_ids, batch.num_excluded, skips_head, out)
    return out[:, :width]


def check_tokens(engine_dir: EngineDir, encoder: _native.Encoder, lengths: list[int]) -> None:
    batch = random_batch(lengths)
    expected = ReferenceEngine(engine_dir).run(batch, "tokens")
    actual = run(encoder, batch, engine_dir.manifest.spec.hidden_size)
    if engine_dir.manifest.spec.experts and engine_dir.manifest.dtype == "bfloat16":
        # Rounding sends about one token in some hundred to another expert.
        order = np.argsort(np.square(actual - expected).sum(axis=1))[: -(-batch.num_tokens * 98 // 100)]
        actual, expected = actual[order], expected[order]
    assert worst_cosine(actual, expected) >= {"float32": 0.99999, "bfloat16": 0.999}[engine_dir.manifest.dtype]


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_agree_with_reference(
    isa: str, dtype: DType, shape: tuple[int, int, int, int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(*shape), dtype)
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=2), [1, 17, 45, 33])


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_lengths_agree_with_reference(
    isa: str, threads: int, lengths: list[int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50))
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=threads), lengths)


@pytest.mark.parametrize("lengths", [[17], [100] * 4, [60] * 8, [600, 300, 20], [40] * 60], ids=str)
def test_teams_of_several_threads(lengths: list[int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    """Teams of eight, two and one threads, possibly more threads than processors."""
    engine_dir = make_engine_dir(make_spec(64, 2, 32, 96))
    check_tokens(engine_dir, encoder_over(engine_dir, threads=8), lengths)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_agree_with_reference(
    isa: str, activation: Activation, dtype: DType, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(activation=activation), dtype)
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=1), [40, 3])


def check_head(engine_dir: EngineDir, encoder: _native.Encoder, lengths: list[int], at_least: float) -> None:
    spec = engine_dir.manifest.spec
    batch = random_batch(lengths)
    excluded = np.minimum(np.diff(batch.cu_seqlens) - 1, np.resize([0, 3, 5, 60], len(lengths))).astype(np.int32)
    batch = PackedBatch(batch.token_ids, batch.cu_seqlens, batch.token_ids % max(spec.type_vocab_size, 1), excluded)
    output: Output = "labels" if isinstance(spec.head, TokenHead) else "pooled"
    expected = ReferenceEngine(engine_dir).run(batch, output)
    actual = NativeEngine(encoder, spec, engine_dir.manifest.dtype).run(batch, output)
    if spec.output_width == 1:
        assert np.abs(dense(actual) - dense(expected)).max() < 100 * (1 - at_least)
    else:
        assert worst_cosine(dense(actual), dense(expected)) >= at_least


def dense(rows: Rows) -> Vectors:
    return dense_rows(rows) if isinstance(rows, SparseVectors) else rows


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_heads_agree_with_reference(
    isa: str, threads: int, head: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50, head=HEADS[head], first_position=2))
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    for lengths in ([1, 40, 7], [300, 5], [70] * 3):
        check_head(engine_dir, encoder, lengths, 0.99999)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("head", HEADS)
def test_heads_in_bfloat16(isa: str, head: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec(64, 2, 32, 96, head=HEADS[head]), "bfloat16")
    check_head(engine_dir, encoder_over(engine_dir, isa=isa, threads=2), [1, 40, 7, 130], 0.998)


@pytest.mark.parametrize("head", HEADS)
def test_a_single_sequence_gets_the_same_head_output(
    head: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(head=HEADS[head]), "bfloat16")
    spec = engine_dir.manifest.spec
    engine = NativeEngine(encoder_over(engine_dir, threads=2), spec, "bfloat16")
    output: Output = "labels" if isinstance(HEADS[head], TokenHead) else "pooled"
    most = 100 if "terms" in head else 20  # for term weights, more than are run at once
    batch = random_batch([7, 300, 1, 33, *range(2, most)])
    together = dense(engine.run(batch, output))
    row = 0
    for i in range(batch.num_sequences):
        alone = dense(engine.run(batch.part(i, i + 1), output))
        np.testing.assert_array_equal(alone, together[row : row + len(alone)])
        row += len(alone)
    assert row == len(together)


def test_an_output_that_the_head_does_not_have(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec())
    for engine in (
        NativeEngine(encoder_over(engine_dir), engine_dir.manifest.spec, "float32"),
        ReferenceEngine(engine_dir),
    ):
        with pytest.raises(EngineError, match="embedding models have no output 'labels'"):
            engine.run(random_batch([3]), "labels")


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("experts", [None, Experts(count=4, top_k=2, layers=(1,))], ids=["one mlp", "experts"])
def test_alone_equals_in_batch(
    isa: str, threads: int, experts: Experts | None, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(experts=experts), "bfloat16")
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    batch = random_batch([7, 300, 1, 33, 90, 17, 64])
    together = run(encoder, batch, 64)
    for begin, end in zip(batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
        single = PackedBatch(batch.token_ids[begin:end], np.array([0, end - begin], np.int32))
        np.testing.assert_array_equal(run(encoder, single, 64), together[begin:end])


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("axis", AXES)
def test_axes_agree_with_reference(
    isa: str, threads: int, axis: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]))
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    for lengths in ([1, 40, 7, 90], [700], [33, 2, 65]):
        check_tokens(engine_dir, encoder, lengths)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("axis", AXES)
def test_axes_in_bfloat16(isa: str, axis: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]), "bfloat16")
    check_tokens(engine_dir, encoder_over(engine_dir, isa=isa, threads=2), [1, 40, 7, 300])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("pooling", ["cls", "last_token", "mean", "weighted_mean"])
@pytest.mark.parametrize("axis", AXES)
def test_the_last_layer_computes_only_the_rows_that_the_head_reads(
    axis: str, pooling: Pooling, threads: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    spec = make_spec(72, 6, 12, 96, head=EmbeddingHead(poolings=(pooling,)), **AXES[axis])
    engine_dir = make_engine_dir(spec)
    encoder = encoder_over(engine_dir, threads=threads)
    for lengths in ([1, 40, 7, 90], [700], [33] * 4):
        check_head(engine_dir, encoder, lengths, 0.99999)


ABSORBED: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped heads": {"num_kv_heads": 1},
    "scaled": {"num_kv_heads": 2, "scale": 0.7},
    "more heads than a strip": {"num_heads": 40, "num_kv_heads": 40},
}


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", ABSORBED)
@pytest.mark.parametrize("pooling", ["cls", "last_token"])
def test_absorbed_attention_agrees_with_reference(
    isa: str, threads: int, shape: str, pooling: Pooling, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    heads = attention(**{"num_heads": 4, "num_kv_heads": 4, "head_dim": 32} | ABSORBED[shape])
    spec = make_spec(96, inner=130, head=EmbeddingHead(poolings=(pooling,)), attention=heads)
    assert absorbs(spec)
    engine_dir = make_engine_dir(spec)
    encoder = encoder_over(engine_dir, isa=isa, threads=threads)
    for lengths in ([1, 40, 7, 90], [700], [33] * 4, [2] * 40):
        check_head(engine_dir, encoder, lengths, 0.99999)


@pytest.mark.parametrize(
    "change",
    [
        {"placement": "pre"},
        {"head": EmbeddingHead(poolings=("mean",))},
        {"head": EmbeddingHead(poolings=("cls", "last_token"))},
        {"head": TokenHead(num_labels=2)},
        {"convolution": Convolution(width=3, activation="tanh")},
        *({"attention": attention(num_heads=2, num_kv_heads=2, head_dim=32, **fields)} for fields in (
            {"rotary": ROTARY}, {"norm": LAYER_NORM}, {"softcap": 2.0}, {"bias": DistanceBias(slopes=(0.5, 0.2))},
            {"is_causal": True}, {"local": LocalLayers(layers=(1,), window=5)},
        )),
        {"attention": attention(num_heads=2, num_kv_heads=2, head_dim=12)},
    ],
)  # fmt: skip
def test_models_that_cannot_use_absorbed_attention(change: dict[str, Any], make_spec: MakeSpec) -> None:
    assert absorbs(make_spec(head=EmbeddingHead(poolings=("cls",))))
    assert not absorbs(make_spec(**{"head": EmbeddingHead(poolings=("cls",))} | change))


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
    check_tokens(engine_dir, encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True), lengths)
    assert amx_emulator.instructions_executed() > before


def test_emulated_amx_packs_wide_rows_in_parts(
    amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    """With 5120 columns a thread packs 128 rows at once; the blocks here have 160 and 140."""
    engine_dir = make_engine_dir(make_spec(256, 4, 64, 5120, layers=1), "bfloat16")
    check_tokens(engine_dir, encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True), [300])


@pytest.mark.parametrize(
    "axis",
    [
        "causal, grouped heads",
        "local",
        "gated, pre-norm",
        "sandwich of RMS norms",
        "ALiBi",
        "layer norm of all heads",
        "disentangled",
        "experts",
    ],
)
def test_emulated_amx_on_the_axes(
    axis: str, amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]), "bfloat16")
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_tokens(engine_dir, encoder, [40, 3, 65])


@pytest.mark.parametrize("head", ["three poolings", "wider and narrower", "a norm between", "terms of two maps"])
def test_emulated_amx_on_the_heads(
    head: str, amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50, head=HEADS[head]), "bfloat16")
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_head(engine_dir, encoder, [1, 40, 7], 0.998)


def test_emulated_amx_with_absorbed_attention(
    amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(64, 2, 32, 96, head=EmbeddingHead(poolings=("cls",))), "bfloat16")
    assert absorbs(engine_dir.manifest.spec)
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_head(engine_dir, encoder, [1, 40, 7], 0.998)


@pytest.mark.parametrize("excluded", [[3, 0], [-1, 0], [0], [0, 0, 0]])
def test_all_tokens_cannot_be_excluded_from_pooling(
    excluded: list[int], make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec())
    batch = replace(random_batch([3, 2]), num_excluded=np.array(excluded, np.int32))
    for engine in (
        NativeEngine(encoder_over(engine_dir), engine_dir.manifest.spec, "float32"),
        ReferenceEngine(engine_dir),
    ):
        with pytest.raises(EngineError):
            engine.run(batch)


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("width", [33, 50, 84])
def test_rows_of_equal_numbers(isa: str, width: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    """Their variance is only rounding error; its square root must not be that of a negative number."""
    heads = attention(num_heads=1, num_kv_heads=1, head_dim=width, norm=LayerNorm(eps=1e-12))
    engine_dir = make_engine_dir(make_spec(width, **NO_TABLES | {"attention": heads}))
    for number in (3333.3, 77.7, 1e-3):
        engine_dir.tensors["embeddings.token"][:] = number  # type: ignore[index]
        assert np.isfinite(run(encoder_over(engine_dir, isa=isa), random_batch([3, 40]), width)).all()


def test_unsupported_levels_are_refused(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec())
    with pytest.raises(ValueError, match="not an instruction-set level"):
        encoder_over(engine_dir, isa="mmx")
    for name, compiled, missing in _native.isa_levels():
        if not compiled or missing:
            with pytest.raises(ValueError, match=name):
                encoder_over(engine_dir, isa=name)
