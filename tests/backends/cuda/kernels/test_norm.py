"""Norms with embeddings or residuals, interpreted."""

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import norm
from openbei.backends.cuda.ops import NormWeights

from ..conftest import Interpret
from .judge import DTYPES, assert_near, assert_quantized, int32s, numbers

EPS = 1e-5


def weights(width: int, *, is_rms: bool) -> NormWeights:
    return NormWeights(numbers(width, seed=8), None if is_rms else numbers(width, seed=9), EPS, is_rms)


def exact_norm(x: Tensor, norm: NormWeights) -> Tensor:
    if not norm.is_rms:
        x = x - x.mean(dim=1, keepdim=True)
    y = x / (x.square().mean(dim=1, keepdim=True) + norm.eps).sqrt() * norm.weight.double()
    return y if norm.bias is None else y + norm.bias.double()


def check_norm(dtype: torch.dtype, width: int, is_rms: bool, has_residual: bool) -> None:
    own = weights(width, is_rms=is_rms)
    x = numbers(5, width + 3, dtype=dtype)[:, :width]
    residual = numbers(5, width, seed=1) * 3 + 1 if has_residual else None  # float32, as in pre-norm models
    exact_sum = x.double() if residual is None else x.double() + residual.double()
    exact = exact_norm(exact_sum, own)
    normed = norm.norm(x, own, residual, dtype=dtype)
    assert isinstance(normed, Tensor)
    assert normed.dtype == dtype
    assert_near(normed, exact, dtype, width)
    assert_quantized(norm.norm(x, own, residual, dtype=dtype, quantizes=True), exact)
    if residual is not None:
        normed, total = norm.add_norm(x, own, residual, dtype=dtype)
        assert isinstance(normed, Tensor)
        assert_near(normed, exact, dtype, width)
        assert_near(total, exact_sum, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("is_rms", [False, True])
@pytest.mark.parametrize(("width", "has_residual"), [(64, True), (100, True), (100, False)])
def test_norm(interpret: Interpret, dtype: torch.dtype, width: int, is_rms: bool, has_residual: bool) -> None:
    interpret(check_norm, dtype, width, is_rms, has_residual)


def check_embed(dtype: torch.dtype, num_tables: int, is_rms: bool | None) -> None:
    width, rows = 40, (int32s(6, 0, 3), int32s(0, 1, 4), int32s(1, 0, 1))[:num_tables]
    tables = tuple(numbers(size, width, dtype=dtype, seed=size) for size in (7, 5, 2)[:num_tables])
    own = None if is_rms is None else weights(width, is_rms=is_rms)
    exact = tables[0].double()[rows[0]] * 2.5
    for table, own_rows in zip(tables[1:], rows[1:], strict=True):
        exact = exact + table.double()[own_rows]
    result = norm.embed(tables, rows, scale=2.5, norm=own, dtype=torch.float32)
    assert_near(result, exact_norm(exact, own) if own else exact, torch.float32, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("num_tables", "is_rms"), [(1, None), (2, True), (3, False)])
def test_embed(interpret: Interpret, dtype: torch.dtype, num_tables: int, is_rms: bool | None) -> None:
    interpret(check_embed, dtype, num_tables, is_rms)
