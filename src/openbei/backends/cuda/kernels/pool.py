"""Pooling of the rows of each sequence to one vector, in float32.

A kernel program handles a block of columns of one sequence, and loops over its rows. [T, H] in 16 bits: 2·T·H bytes, or
2·S·H for cls and last_token, and 4·S·H for the result; one or two operations for each element, so memory is the limit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.launch import launch
from openbei.spec import Pooling

_BLOCK_ROWS, _BLOCK_COLUMNS = 32, 64


def pool(x: Tensor, pooling: Pooling, starts: Tensor, ends: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Pool rows `starts[s]` to `ends[s]` of each sequence: [T, H] -> float32 [S, H]; see `Ops.pool`."""
    num_sequences, width = len(starts), x.shape[1]
    out = torch.empty(num_sequences, width, dtype=torch.float32, device=x.device)
    launch(
        _pool_kernel,
        (num_sequences, triton.cdiv(width, _BLOCK_COLUMNS)),
        out,
        x,
        starts,
        ends,
        cu_seqlens,
        x.stride(0),
        width,
        POOLING=pooling,
        BLOCK_ROWS=_BLOCK_ROWS,
        BLOCK_COLUMNS=_BLOCK_COLUMNS,
        num_warps=4,
    )
    return out


@triton.jit
def _pool_kernel(
    out: tl.tensor,
    x: tl.tensor,
    starts: tl.tensor,
    ends: tl.tensor,
    cu_seqlens: tl.tensor,
    x_stride: tl.tensor,
    width: tl.tensor,
    POOLING: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
) -> None:
    sequence = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    is_column = columns < width
    start, end = tl.load(starts + sequence), tl.load(ends + sequence)
    x += columns
    if POOLING == "cls" or POOLING == "last_token":
        row = (start if POOLING == "cls" else end - 1).to(tl.int64)
        pooled = tl.load(x + row * x_stride, mask=columns < tl.where(start < end, width, 0), other=0.0).to(tl.float32)
    else:
        pooled = tl.full([BLOCK_COLUMNS], float("-inf") if POOLING == "max" else 0.0, tl.float32)
        before = tl.load(cu_seqlens + sequence) - 1
        for first in range(start, end, BLOCK_ROWS):
            rows = first + tl.arange(0, BLOCK_ROWS)
            mask = (rows < end)[:, None] & is_column[None, :]
            other = float("-inf") if POOLING == "max" else 0.0
            loaded = tl.load(x[None, :] + rows.to(tl.int64)[:, None] * x_stride, mask=mask, other=other).to(tl.float32)
            if POOLING == "max":
                pooled = tl.maximum(pooled, tl.max(loaded, axis=0))
            elif POOLING == "weighted_mean":
                pooled += tl.sum(loaded * (rows - before).to(tl.float32)[:, None], axis=0)
            else:
                pooled += tl.sum(loaded, axis=0)
        count = (end - start).to(tl.float32)
        if POOLING == "mean":
            pooled /= count
        elif POOLING == "mean_sqrt_len":
            pooled *= tl.rsqrt(count)
        elif POOLING == "weighted_mean":  # the sum of consecutive weights
            pooled /= count * 0.5 * (start + end - 1 - 2 * before).to(tl.float32)
    tl.store(out + sequence * width + columns, pooled, mask=is_column)
