"""Rows in 4 bits, interpreted, and linear layers with them compiled for Blackwell."""

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda import nvfp4
from openbei.backends.cuda.kernel_cache import compiling_for
from openbei.backends.cuda.kernels import quantize4
from openbei.backends.cuda.ops import LinearWeights
from openbei.gpus import Capability

from ..conftest import Interpret
from .judge import DTYPES, numbers


def check_quantize(dtype: torch.dtype, width: int) -> None:
    """Triton's interpreter loses the carry of some e4m3 scales, so a few blocks differ."""
    x = numbers(130, width + 3, dtype=dtype)[:, :width]
    x[2] *= 1000
    x[3] = 0
    found, expected = quantize4.quantize(x), nvfp4.quantize(x)
    assert torch.equal(found.scales, expected.scales)
    blocks = [nvfp4.untiled(rows.block_scales, 130, width // 16).float() for rows in (found, expected)]
    is_same = blocks[0] == blocks[1]
    assert is_same.float().mean() > 0.95
    differs = (found.values != expected.values).unflatten(1, (-1, 8)).any(dim=2)
    assert (differs & is_same).float().mean() < 0.01  # a quotient that is a tie may be rounded either way


@pytest.mark.parametrize(("dtype", "width"), list(zip(DTYPES, (64, 192), strict=True)))
def test_quantize(interpret: Interpret, dtype: torch.dtype, width: int) -> None:
    interpret(check_quantize, dtype, width)


def check_rescale(has_bias: bool) -> None:
    y, row_scales, column_scales = numbers(5, 1100), numbers(5, 1).abs(), numbers(1, 1100)[0].abs()
    bias = numbers(1, 1100)[0] if has_bias else None
    expected = y * row_scales * column_scales + (bias if bias is not None else 0)
    quantize4.rescale(y, row_scales, column_scales, bias)
    assert torch.allclose(y, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("has_bias", [False, True])
def test_rescale(interpret: Interpret, has_bias: bool) -> None:
    interpret(check_rescale, has_bias)


def test_a_linear_layer_on_blackwell() -> None:
    """Its kernels compile, and torch accepts the types and shapes of the product."""
    with compiling_for(Capability(10, 0)):
        x = torch.empty(200, 256, dtype=torch.bfloat16, device="meta")
        weights = LinearWeights(
            torch.empty(384, 128, dtype=torch.uint8, device="meta"),
            torch.empty(384, dtype=torch.bfloat16, device="meta"),
            torch.empty(384, device="meta"),
            torch.empty(384 * 16, dtype=torch.float8_e4m3fn, device="meta"),
        )
        y = quantize4.linear(x, weights)
    assert (y.shape, y.dtype) == ((200, 384), torch.bfloat16)
