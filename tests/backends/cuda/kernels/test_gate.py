"""Activations with and without a gate, interpreted."""

from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import gate
from openbei.spec import Activation

from ..conftest import Interpret
from .judge import DTYPES, assert_near, assert_quantized, numbers

EXACT = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


def check_gate(dtype: torch.dtype, activation: Activation, width: int) -> None:
    x = numbers(4, 2 * width + 3, dtype=dtype)[:, : 2 * width] * 3
    x[0, :2] = torch.tensor([60000.0, -60000.0])  # which must not overflow within
    x[0, width : width + 2] = 1
    activated = EXACT[activation](x[:, :width].double())
    exact = activated * x[:, width:].double()
    gated = gate.gate(x, activation)
    plain = gate.gate(x[:, :width], activation, is_gated=False)
    assert isinstance(gated, Tensor)
    assert isinstance(plain, Tensor)
    for part in (slice(1), slice(1, None)):  # errors are judged by the largest number
        assert_near(gated[part], exact[part], dtype)
        assert_near(plain[part], activated[part], dtype)
    assert_quantized(gate.gate(x[1:], activation, quantizes=True), exact[1:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", get_args(Activation))
def test_gate(interpret: Interpret, dtype: torch.dtype, activation: Activation) -> None:
    interpret(check_gate, dtype, activation, 100)


def test_several_blocks_of_columns(interpret: Interpret) -> None:
    interpret(check_gate, torch.float16, "silu", 1030)
