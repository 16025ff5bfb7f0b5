"""Linear maps with quantized weights: products against numpy in float64, and every code of every format."""

from itertools import product
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from openbei.backends.native import encoder_over
from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.storage import Storage
from openbei.spec import EmbeddingHead
from tests.native.conftest import SUPPORTED, MakeEngineDir, MakeSpec
from tests.native.encoders import check_head, check_tokens
from tests.native.kernels import Array, Doubles, Epilogue, Level, WeightFormat, aligned, check
from tests.spec_axes import AXES

SHAPES = [(1, 1, 1), (1, 64, 33), (2, 33, 31), (5, 65, 40), (13, 96, 64), (12, 48, 290), (65, 130, 34), (1, 700, 96)]


@pytest.fixture
def level(level: Level) -> Level:
    if level.dtype != "bfloat16":
        pytest.skip("only bfloat16 products have quantized weights")
    return level


def arrays_of(format: str, numbers: Doubles) -> tuple[dict[str, Any], Doubles]:
    """The fields of LinearArgs for a weight [N, K] in a format, and its decoded numbers."""
    storage = Storage(format, "panels")
    arrays = storage.store("w", numbers.astype(np.float32))
    fields: dict[str, Any] = {"format": WeightFormat[format], "weight": arrays["w"], "scales": arrays["w.scale"]}
    if format == "nvfp4":
        blocks = arrays["w.block_scale"]
        fields |= {"block_scales": blocks, "num_blocks": blocks.shape[0], "scale_stride": blocks.shape[1]}
    return fields, storage.load("w", arrays, numbers.shape).astype(np.float64)


def run(level: Level, x: Array, fields: dict[str, Any], bias: Array, num_outputs: int, begin: int = 0) -> Array:
    num_panels = -(-num_outputs // 32)
    padded_bias = np.zeros(32 * num_panels, np.float32)
    padded_bias[:num_outputs] = bias
    rows = level.rows(x, beyond=3.0)
    y = np.full((len(x), 32 * num_panels), 77.0, np.float32)
    level.call(
        "linear",
        x=rows,
        x_stride=rows.shape[1],
        bias=padded_bias,
        quantized_scratch=aligned(level.kernels.quantized_scratch_bytes(rows.shape[1])),
        rows=len(x),
        in_features=-(-x.shape[1] // 32) * 32,
        panel_begin=begin,
        panel_end=num_panels,
        epilogue=Epilogue.activate_float32,
        y=y,
        y_stride=y.shape[1],
        **fields,
    )
    assert (y[:, : 32 * begin] == 77.0).all()
    return y[:, 32 * begin : num_outputs]


@pytest.mark.parametrize("format", ["int8", "float8", "nvfp4"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(shape: tuple[int, int, int], format: str, level: Level) -> None:
    num_rows, num_inputs, num_outputs = shape
    rng = np.random.default_rng(3)
    x = level.stored(rng.normal(size=(num_rows, num_inputs)))
    fields, weight = arrays_of(format, rng.normal(size=(num_outputs, num_inputs)))
    bias = rng.normal(size=num_outputs).astype(np.float32)
    magnitudes = np.abs(x) @ np.abs(weight).T + np.abs(bias)
    found = run(level, x, fields, bias, num_outputs)
    check(found, x @ weight.T + bias, magnitudes * (num_inputs + 4) * 2.0**-24)
    if num_outputs > 32:
        assert np.array_equal(run(level, x, fields, bias, num_outputs, begin=1), found[:, 32:])


@pytest.mark.parametrize("format", ["int8", "float8"])
def test_every_code_is_exact(format: str, level: Level) -> None:
    dtype = np.dtype({"int8": np.int8, "float8": ml_dtypes.float8_e4m3fn}[format])
    codes = np.arange(256, dtype=np.uint8).view(dtype)
    codes = codes[np.isfinite(codes.astype(np.float32))]
    packed = Storage(format, "panels").parts("w", (40, len(codes)))["w"]
    weight = np.zeros((40, len(codes)), dtype)
    weight[3] = weight[39] = codes
    assert packed.dtype == dtype
    fields = arrays_of(format, np.ones((40, len(codes))))[0]
    fields |= {"weight": LAYOUTS["panels"].pack(weight), "scales": np.full(64, 0.5, np.float32)}
    found = run(level, np.eye(len(codes)), fields, np.zeros(40, np.float32), 40)
    assert np.array_equal(found[:, 3], codes.astype(np.float32) / 2)
    assert np.array_equal(found[:, 39], codes.astype(np.float32) / 2)
    assert not found[:, 4].any()


def test_every_block_scale_is_exact(level: Level) -> None:
    """Each e2m1 number with each positive e4m3 scale of its block."""
    scales = np.arange(127, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
    numbers = np.arange(16, dtype=np.uint8)
    num_inputs = 16 * len(scales)
    packed = np.tile(numbers[::2] | numbers[1::2] << 4, (33, len(scales)))
    blocks = np.zeros((len(scales), 64), ml_dtypes.float8_e4m3fn)
    blocks[:, 32] = scales
    fields = {
        "format": WeightFormat.nvfp4,
        "weight": LAYOUTS["panels"].pack(packed),
        "scales": np.ones(64, np.float32),
        "block_scales": blocks,
        "num_blocks": len(scales),
        "scale_stride": 64,
    }
    values = numbers.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    expected = np.array([scale * value for scale, value in product(scales.astype(np.float32), values)])
    for begin in range(0, num_inputs, 508):
        found = run(level, np.eye(num_inputs)[begin : begin + 508], fields, np.zeros(33, np.float32), 33)
        assert np.array_equal(found[:, 32], expected[begin : begin + 508])
        assert not found[:, 31].any()


def test_formats_of_the_engine() -> None:
    assert {format.name for format in WeightFormat} - {"plain"} == FORMATS.keys() - {"bfloat16", "float16", "float32"}


@pytest.mark.parametrize("isa", SUPPORTED)
@pytest.mark.parametrize("quantization", ["weights_int8", "fp8", "fp4", "fp4_mlp_only", "smooth_quant"])
@pytest.mark.parametrize("axis", ["no norm of embeddings", "gated", "causal, grouped heads", "experts", "disentangled"])
def test_models_agree_with_reference(
    isa: str, quantization: str, axis: str, make_spec: MakeSpec, make_engine_dir: MakeEngineDir
) -> None:
    engine_dir = make_engine_dir(make_spec(72, 6, 12, 96, **AXES[axis]), "bfloat16", quantization=quantization)
    encoder = encoder_over(engine_dir, isa=isa, threads=2)
    check_tokens(engine_dir, encoder, [40, 3])
    check_tokens(engine_dir, encoder, [1, 40, 7, 300])


def test_absorbed_attention(make_spec: MakeSpec, make_engine_dir: MakeEngineDir) -> None:
    """The queries and values of absorbed attention are slices of a quantized weight."""
    spec = make_spec(96, 3, 32, inner=130, head=EmbeddingHead(poolings=("cls",)))
    for quantization in ("weights_int8", "fp8", "fp4", "smooth_quant"):
        engine_dir = make_engine_dir(spec, "bfloat16", quantization=quantization)
        check_head(engine_dir, encoder_over(engine_dir, threads=2), [1, 40, 7, 90], 0.99)
