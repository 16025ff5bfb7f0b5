"""Judges results of kernels by float64 computations."""

import torch
from torch import Tensor

from openbei.backends.cuda.ops import Quantized

DTYPES = (torch.float16, torch.float32)
"""The interpreter multiplies bfloat16 matrices wrongly."""

_EPSILONS = {torch.float16: 2**-10, torch.float32: 2**-22}


def numbers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Normally distributed numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def int32s(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def assert_near(result: Tensor, exact: Tensor, dtype: torch.dtype, num_terms: int = 1) -> None:
    """Compare with float64 numbers: rounding of results in `dtype`, and of sums of `num_terms` in float32."""
    assert result.shape == exact.shape
    assert result.isfinite().all()
    error = (result.double() - exact).abs().max()
    scale = max(exact.abs().max().item(), 1.0)
    assert error <= (2 * _EPSILONS[dtype] + num_terms**0.5 * 2**-22) * scale, error


def assert_quantized(rows: object, exact: Tensor) -> None:
    """Each scale is that of the row, and each value the nearest to the exact number, or the second nearest at a tie.

    The interpreter rounds numbers to powers of 2 wrongly if that changes the exponent, and those below the smallest
    normal number; such numbers are not compared.
    """
    assert isinstance(rows, Quantized)
    values, scales = rows.values.double(), rows.scales.double()
    torch.testing.assert_close(scales, exact.abs().amax(dim=1, keepdim=True) / 448, rtol=1e-5, atol=1e-12)
    wanted = exact / scales.clamp(min=1e-30)
    half_steps = 2.0 ** (torch.floor(torch.log2(wanted.abs().clamp(min=2**-6))) - 4)
    is_compared = (wanted.abs() >= 2**-6) & (torch.frexp(wanted + half_steps).exponent == torch.frexp(wanted).exponent)
    is_compared &= torch.frexp(wanted - half_steps).exponent == torch.frexp(wanted).exponent
    is_compared |= wanted == 0
    assert is_compared.float().mean() > 0.7
    assert ((values - wanted).abs() <= half_steps * 1.01)[is_compared].all()
