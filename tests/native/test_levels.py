"""Every instruction-set level of this CPU against the reference backend, for many shapes and lengths."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from openbei import _native
from openbei.backends.native import encoder_over
from openbei.batch import PackedBatch
from openbei.spec import Activation, DType, Experts, LayerNorm
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.native.encoders import check_tokens, random_batch, run
from tests.spec_axes import NO_TABLES, attention

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
@pytest.mark.parametrize("width", [33, 50, 84])
def test_rows_of_equal_numbers(isa: str, width: int, make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    """Their variance is only rounding error; its square root must not be that of a negative number."""
    heads = attention(num_heads=1, num_kv_heads=1, head_dim=width, norm=LayerNorm(eps=1e-12))
    engine_dir = make_engine_dir(make_spec(width, **NO_TABLES | {"attention": heads}))
    for number in (3333.3, 77.7, 1e-3):
        table = np.full_like(engine_dir.tensors["embeddings.token"], number)
        changed = replace(engine_dir, tensors={**engine_dir.tensors, "embeddings.token": table})
        assert np.isfinite(run(encoder_over(changed, isa=isa), random_batch([3, 40]), width)).all()


def test_unsupported_levels_are_refused(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    engine_dir = make_engine_dir(make_spec())
    with pytest.raises(ValueError, match="not an instruction-set level"):
        encoder_over(engine_dir, isa="mmx")
    for name, compiled, missing in _native.isa_levels():
        if not compiled or missing:
            with pytest.raises(ValueError, match=name):
                encoder_over(engine_dir, isa=name)
