"""Linear layers with bias and activation, interpreted."""

from typing import get_args
from unittest.mock import patch

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import gemm
from openbei.backends.cuda.ops import LinearWeights
from openbei.spec import Activation

from ..conftest import Interpret
from .judge import DTYPES, assert_near, numbers
from .test_gate import EXACT

BLOCKS = gemm.Blocks(rows=16, columns=16, depth=16, num_warps=4, num_stages=2)


def check_linear(
    dtype: torch.dtype,
    shape: tuple[int, int, int],
    activation: Activation | None,
    has_bias: bool,
) -> None:
    """`shape` is rows, columns and depth."""
    num_rows, num_columns, depth = shape
    x = numbers(num_rows, depth + 3, dtype=dtype)[:, :depth]
    bias = numbers(num_columns, dtype=dtype, seed=2) if has_bias else None
    weights = LinearWeights(numbers(num_columns, depth, dtype=dtype, seed=1), bias)
    exact = x.double() @ weights.weight.double().T
    exact = exact + bias.double() if bias is not None else exact
    with patch.object(gemm, "blocks_for", lambda _: BLOCKS):
        result = gemm.linear(x, weights, activation)
    assert_near(result, EXACT[activation](exact) if activation else exact, dtype, depth)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 16, 16), (33, 40, 50), (160, 17, 16)])
def test_shapes(interpret: Interpret, dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    interpret(check_linear, dtype, shape, "gelu", True)


@pytest.mark.parametrize("activation", [None, *get_args(Activation)])
def test_activations(interpret: Interpret, activation: Activation | None) -> None:
    interpret(check_linear, torch.float16, (17, 15, 48), activation, False)


def test_rows_have_blocks() -> None:
    assert gemm.blocks_for(1) == gemm.blocks_for(32) == gemm.BLOCKS[32]
    assert gemm.blocks_for(33) == gemm.BLOCKS[128]
    assert gemm.blocks_for(10**6).rows == 128
