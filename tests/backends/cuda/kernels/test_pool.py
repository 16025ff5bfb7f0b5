"""Poolings, interpreted."""

from typing import get_args

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import pool
from openbei.spec import Pooling

from ..conftest import Interpret
from .judge import DTYPES, assert_near, int32s, numbers

LENGTHS, NUM_EXCLUDED = (1, 33, 5, 64, 2), (0, 0, 4, 3, 1)


def check_pool(dtype: torch.dtype, pooling: Pooling) -> None:
    """The last sequence is empty, as in padded batches, and ends at the last row."""
    width = 70
    x = numbers(sum(LENGTHS), width + 2, dtype=dtype)[:, :width]
    cu_seqlens = int32s(0, *torch.tensor(LENGTHS).cumsum(0).tolist(), sum(LENGTHS))
    starts = cu_seqlens[:-1] + int32s(*NUM_EXCLUDED, 0)
    result = pool.pool(x, pooling, starts, cu_seqlens[1:], cu_seqlens)[:-1]
    for i, (length, excluded) in enumerate(zip(LENGTHS, NUM_EXCLUDED, strict=True)):
        rows = x[starts[i] : cu_seqlens[i + 1]].double()
        places = torch.arange(excluded + 1, length + 1, dtype=torch.float64)
        exact = {
            "cls": rows[0],
            "max": rows.amax(dim=0),
            "mean": rows.mean(dim=0),
            "mean_sqrt_len": rows.sum(dim=0) / len(rows) ** 0.5,
            "weighted_mean": places @ rows / places.sum(),
            "last_token": rows[-1],
        }[pooling]
        assert_near(result[i], exact, torch.float32, length)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_pool(interpret: Interpret, dtype: torch.dtype, pooling: Pooling) -> None:
    interpret(check_pool, dtype, pooling)
