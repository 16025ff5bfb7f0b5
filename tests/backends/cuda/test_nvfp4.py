"""NVFP4: rows in 4 bits, products against float64, and whole models as on a Blackwell GPU and as on an older one."""

import logging

import ml_dtypes
import numpy as np
import pytest
import torch

from openbei.backends.cuda import nvfp4
from openbei.backends.cuda.layers import AttentionWeights, MLPWeights
from openbei.backends.cuda.memory import weight_bytes
from openbei.backends.cuda.ops import LinearWeights
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.cuda.transfer import WeightUpload
from openbei.backends.cuda.weights import load_weights
from openbei.backends.reference import ReferenceEngine
from openbei.gpus import Capability
from openbei.spec import GatedMLP
from tests.same_embedding import worst_cosine
from tests.small_models import random_batch, small_spec
from tests.spec_axes import AXES

from .test_float8 import CPU, H100, float64, load, quantized

B200 = Capability(10, 0)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed rows of different magnitudes, one of them 0."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * torch.logspace(-3, 3, shape[0])[:, None]
    x[shape[0] // 2] = 0
    return x


def expanded(rows: nvfp4.Rows4) -> np.ndarray:
    """The numbers that rows stand for, float64."""
    num_rows, half = rows.values.shape
    blocks = nvfp4.untiled(rows.block_scales, num_rows, half // 8)
    return float64(nvfp4.expanded(rows.values, blocks)) * float64(rows.scales)


def test_numbers_are_rounded_to_nearest_even() -> None:
    magnitudes = np.linspace(0, 6, 2401, dtype=np.float32)  # every step of 1 / 400, ties among them
    expected = magnitudes.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    assert (nvfp4._codes(torch.from_numpy(magnitudes)).numpy() == expected).all()


@pytest.mark.parametrize("shape", [(1, 4), (128, 8), (130, 12), (40, 3)], ids=str)
def test_the_order_of_block_scales(shape: tuple[int, int]) -> None:
    """As cuBLAS documents it."""
    scales = torch.arange(shape[0] * shape[1], dtype=torch.int32).remainder(251).to(torch.uint8).view(shape)
    stored = nvfp4.tiled(scales.view(torch.float8_e4m3fn)).view(torch.uint8)
    tiles_across = -(-shape[1] // 4)
    assert len(stored) == 512 * -(-shape[0] // 128) * tiles_across
    for row, block in np.ndindex(*shape):
        tile = row // 128 * tiles_across + block // 4
        assert stored[512 * tile + 16 * (row % 32) + 4 * (row % 128 // 32) + block % 4] == scales[row, block]
    again = nvfp4.untiled(stored.view(torch.float8_e4m3fn), *shape)
    assert torch.equal(again.view(torch.uint8), scales)


def test_rows() -> None:
    """A number is off by half a step of e2m1, at most 1 / 6 of its block's largest, and the rounding of the scale."""
    x = numbers(50, 128)
    rows = nvfp4.quantize(x)
    largest = np.repeat(np.abs(float64(x)).reshape(50, -1, 16).max(axis=2), 16, axis=1)
    assert (np.abs(expanded(rows) - float64(x)) <= 0.24 * largest + 6 * 2.0**-10 * float64(rows.scales)).all()
    assert (rows.values[25] == 0).all()
    assert torch.isfinite(rows.scales).all()


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_product_against_float64(has_bias: bool) -> None:
    """Only the output is rounded."""
    x, weight = numbers(33, 192).bfloat16(), nvfp4.quantize(numbers(256, 192, seed=1))
    bias = torch.randn(256).bfloat16() if has_bias else None
    weights = LinearWeights(weight.values, bias, weight.scales[:, 0], weight.block_scales)
    assert not weights.is_quantized
    y = TorchOps(torch.bfloat16).linear(x, weights)
    left, right = expanded(nvfp4.quantize(x)), expanded(weight)
    exact = left @ right.T + (float64(bias) if bias is not None else 0)
    assert y.dtype == torch.bfloat16
    assert (np.abs(float64(y) - exact) <= 2.0**-8 * np.abs(exact) + 2.0**-18 * (np.abs(left) @ np.abs(right).T)).all()


@pytest.mark.parametrize("axis", ["gated, pre-norm", "causal, grouped heads"])
def test_models(axis: str, caplog: pytest.LogCaptureFixture) -> None:
    """On Blackwell, MLPs compute in 4 bits; elsewhere weights are expanded, which changes no number."""
    mlp = GatedMLP(intermediate_size=256, activation="silu")
    spec = small_spec(128, 4, 32, **AXES[axis] | {"attention": small_spec(128, 4, 32).attention, "mlp": mlp})
    engine_dir, batch = quantized(spec, "nvfp4"), random_batch([40, 3, 65])
    expected = np.asarray(ReferenceEngine(engine_dir).run(batch))
    on_blackwell, on_hopper = load(engine_dir, B200), load(engine_dir, H100)
    assert on_blackwell.info.precision == "nvfp4"
    assert 0.95 < worst_cosine(np.asarray(on_blackwell.run(batch)), expected) < 0.9999
    assert worst_cosine(np.asarray(on_hopper.run(batch)), expected) > 0.998
    assert caplog.text.count("weights in nvfp4 are expanded to") == 1
    assert "use fp8 on L4, L40S, H100" in caplog.text


def test_which_weights_stay_in_4_bits() -> None:
    """Those of MLPs whose sizes fill whole tiles of scales; memory counts the others as 16 bits."""
    for inner, stays in ((256, True), (192, False)):
        engine_dir = quantized(small_spec(128, 4, 32, inner), "nvfp4")
        weights = load_weights(engine_dir, torch.bfloat16, WeightUpload(CPU), kept=("nvfp4",))
        for sublayer in weights.sublayers:
            if isinstance(function := sublayer.function, AttentionWeights):
                assert function.qkv.block_scales is None
                assert function.qkv.weight.dtype == torch.bfloat16
            elif isinstance(function, MLPWeights):
                assert (function.up.block_scales is not None) == stays
                assert (function.down.block_scales is not None) == (inner % 64 == 0)
        manifest = engine_dir.manifest
        assert (weight_bytes(manifest, 2, ("nvfp4",)) < weight_bytes(manifest, 2)) == (inner % 64 == 0)


def test_blackwell_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(quantized(small_spec(128, 4, 32, 256), "nvfp4"), B200)
    assert caplog.text == ""
