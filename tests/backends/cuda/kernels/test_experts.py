"""Mixtures of experts, interpreted."""

from unittest.mock import patch

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import experts
from openbei.backends.cuda.ops import ExpertWeights, LinearWeights
from openbei.spec import Activation

from ..conftest import Interpret
from .judge import DTYPES, assert_near, numbers
from .test_gate import EXACT
from .test_gemm import BLOCKS


def check_experts(
    dtype: torch.dtype, num_experts: int, top_k: int, is_gated: bool, has_bias: bool, activation: Activation
) -> None:
    """Some experts have no rows, some more than a block."""
    num_rows, width, inner = 40, 20, 24
    x = numbers(num_rows, width, dtype=dtype)
    router = numbers(num_experts, width, seed=1)
    router[0] *= 10
    up = numbers(num_experts, 2 * inner if is_gated else inner, width, dtype=dtype, seed=2) / 4
    down = numbers(num_experts, width, inner, dtype=dtype, seed=3) / 4
    up_bias = numbers(*up.shape[:2], dtype=dtype, seed=4) if has_bias else None
    down_bias = numbers(*down.shape[:2], dtype=dtype, seed=5) if has_bias else None
    weights = ExpertWeights(
        *(LinearWeights(router), up, down, up_bias, down_bias, numbers(width, dtype=dtype, seed=6)),
        *(is_gated, top_k, top_k > 1),
    )
    with patch.object(experts, "blocks_for", lambda _: BLOCKS):
        result = experts.experts(x, weights, activation)
    best, chosen = (x.double() @ router.double().T).softmax(dim=1).topk(top_k, dim=1)
    best = best / best.sum(dim=1, keepdim=True) if top_k > 1 else best
    exact = weights.bias.double().repeat(num_rows, 1)
    for row in range(num_rows):
        for share, expert in zip(best[row], chosen[row], strict=True):
            y = up[expert].double() @ x[row].double() + (0 if up_bias is None else up_bias[expert].double())
            y = EXACT[activation](y[:inner]) * y[inner:] if is_gated else EXACT[activation](y)
            exact[row] += share * (down[expert].double() @ y + (0 if down_bias is None else down_bias[expert].double()))
    assert_near(result, exact, dtype, inner)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_experts", "top_k", "is_gated", "has_bias", "activation"),
    [(4, 2, False, True, "gelu"), (11, 1, True, False, "silu"), (1, 1, False, False, "relu")],
)
def test_experts(
    interpret: Interpret,
    dtype: torch.dtype,
    num_experts: int,
    top_k: int,
    is_gated: bool,
    has_bias: bool,
    activation: Activation,
) -> None:
    interpret(check_experts, dtype, num_experts, top_k, is_gated, has_bias, activation)
