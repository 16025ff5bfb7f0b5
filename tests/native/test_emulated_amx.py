"""The AMX level on an emulator of its instructions, against the reference backend."""

import ctypes

import pytest

from openbei.absorbed import absorbs
from openbei.backends.native import encoder_over
from openbei.spec import EmbeddingHead
from tests.native.conftest import MakeEngineDir, MakeSpec
from tests.native.encoders import check_head, check_tokens
from tests.spec_axes import AXES, HEADS


@pytest.mark.parametrize("shape", [(36, 3, 12, 50), (64, 2, 32, 96), (40, 1, 48, 1100)], ids=str)
@pytest.mark.parametrize("lengths", [[1], [17, 2, 33], [150]], ids=str)
def test_shapes_agree_with_reference(
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


def test_wide_rows_are_packed_in_parts(
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
def test_axes_agree_with_reference(
    axis: str, amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]), "bfloat16")
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_tokens(engine_dir, encoder, [40, 3, 65])


@pytest.mark.parametrize("head", ["three poolings", "wider and narrower", "a norm between", "terms of two maps"])
def test_heads_agree_with_reference(
    head: str, amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(36, 3, 12, 50, head=HEADS[head]), "bfloat16")
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_head(engine_dir, encoder, [1, 40, 7], 0.998)


def test_absorbed_attention_agrees_with_reference(
    amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(64, 2, 32, 96, head=EmbeddingHead(poolings=("cls",))), "bfloat16")
    assert absorbs(engine_dir.manifest.spec)
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_head(engine_dir, encoder, [1, 40, 7], 0.998)


@pytest.mark.parametrize("lengths", [[1], [40, 3, 250]], ids=str)
def test_integers_agree_with_reference(
    lengths: list[int], amx_emulator: ctypes.CDLL, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    """Products in tiles of 8-bit integers."""
    engine_dir = make_engine_dir(make_spec(160, 2, 32, 300, layers=1), "bfloat16", quantization="smooth_quant")
    encoder = encoder_over(engine_dir, isa="amx_bf16", threads=2, assume_supported=True)
    check_tokens(engine_dir, encoder, lengths)
