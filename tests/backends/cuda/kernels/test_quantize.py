"""Rows in 8 bit, interpreted."""

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import quantize

from ..conftest import Interpret
from .judge import DTYPES, assert_quantized, numbers


def check_quantize(dtype: torch.dtype, width: int) -> None:
    x = numbers(5, width + 3, dtype=dtype)[:, :width]
    x[2] *= 1000
    assert_quantized(quantize.quantize(x), x.double())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 16, 100])
def test_quantize(interpret: Interpret, dtype: torch.dtype, width: int) -> None:
    interpret(check_quantize, dtype, width)


def check_zeros() -> None:
    values, scales = quantize.quantize(torch.zeros(2, 16))
    assert (values.float() == 0).all()
    assert (scales == 0).all()


def test_zeros(interpret: Interpret) -> None:
    interpret(check_zeros)
