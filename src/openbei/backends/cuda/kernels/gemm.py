"""Linear layers with bias and activation in one kernel: activation(x · weightᵀ + bias), accumulated in float32.

A kernel program computes a tile of BLOCK_ROWS × BLOCK_COLUMNS outputs. Neighbouring programs share columns of the
weight, which stay in the L2 cache. Persistent programs, which compute several tiles each, are not faster: on an H200
they took between 4 % less and 2 % more time for 16384 rows.

[R, K] · [N, K]ᵀ: 2·R·N·K operations and, in 16 bits, 2·(R·K + N·K + R·N) bytes. A separate activation would read and
write 4·R·N bytes more.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.activation import activate
from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.ops import LinearWeights
from openbei.spec import Activation

GROUP = 8
"""Tiles of rows that are processed together, column by column."""


class Blocks(NamedTuple):
    """Sizes of a tile, warps of a program, and steps along K whose loads are in flight."""

    rows: int
    columns: int
    depth: int
    num_warps: int
    num_stages: int


BLOCKS: dict[int, Blocks] = {
    32: Blocks(rows=32, columns=64, depth=64, num_warps=4, num_stages=4),
    128: Blocks(rows=64, columns=64, depth=64, num_warps=4, num_stages=4),
    1024: Blocks(rows=64, columns=128, depth=64, num_warps=4, num_stages=3),
    1 << 31: Blocks(rows=128, columns=128, depth=64, num_warps=8, num_stages=3),
}
"""Tiles by the largest number of rows that they are used for. Each fits the shared memory of every supported card."""


def blocks_for(num_rows: int) -> Blocks:
    """The tile for a number of rows. Large tiles need many rows to occupy the whole card."""
    return next(blocks for limit, blocks in BLOCKS.items() if num_rows <= limit)


def linear(x: Tensor, weights: LinearWeights, activation: Activation | None = None) -> Tensor:
    """activation(x · weightᵀ + bias) of 16-bit rows [R, K], which may be strided: [R, N]."""
    num_rows, num_columns = len(x), len(weights.weight)
    out = torch.empty(num_rows, num_columns, dtype=x.dtype, device=x.device)
    blocks = blocks_for(num_rows)
    launch(
        _linear_kernel,
        (triton.cdiv(num_rows, blocks.rows) * triton.cdiv(num_columns, blocks.columns),),
        *(out, x, weights.weight, weights.bias),
        *(num_rows, num_columns, x.shape[1], x.stride(0)),
        ACTIVATION=activation,
        **tile_options(blocks, x.shape[1]),
    )
    return out


def tile_options(blocks: Blocks, depth: int) -> dict[str, int | bool]:
    """The constants and launch options of a kernel that computes tiles."""
    return {
        "IS_EVEN": depth % blocks.depth == 0,
        "GROUP": GROUP,
        "BLOCK_ROWS": blocks.rows,
        "BLOCK_COLUMNS": blocks.columns,
        "BLOCK_DEPTH": blocks.depth,
        "num_warps": blocks.num_warps,
        "num_stages": blocks.num_stages,
    }


@triton.jit
def tile_places(
    tile: tl.tensor,
    num_rows: tl.tensor,
    num_columns: tl.tensor,
    GROUP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Rows and columns of a tile. GROUP consecutive tiles of rows share a tile of columns."""
    num_tiles = tl.cdiv(num_rows, BLOCK_ROWS)
    per_group = GROUP * tl.cdiv(num_columns, BLOCK_COLUMNS)
    first = tile // per_group * GROUP
    size = min(num_tiles - first, GROUP)
    row_tile = first + tile % per_group % size
    column_tile = tile % per_group // size
    return row_tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS), column_tile * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)


@triton.jit
def product(
    x: tl.tensor,
    weight: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    num_rows: tl.tensor,
    num_columns: tl.tensor,
    depth: tl.tensor,
    x_stride: tl.tensor,
    IS_EVEN: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
) -> tl.tensor:
    """x · weightᵀ of a tile, float32. Results beyond the last row or column must not be used."""
    steps = tl.arange(0, BLOCK_DEPTH)
    x += (rows % num_rows).to(tl.int64)[:, None] * x_stride + steps[None, :]
    weight += (columns % num_columns).to(tl.int64)[None, :] * depth + steps[:, None]
    total = tl.zeros([rows.shape[0], columns.shape[0]], tl.float32)
    for start in tl.range(0, depth, BLOCK_DEPTH):
        if IS_EVEN:
            x_block, weight_block = tl.load(x), tl.load(weight)
        else:
            is_step = steps < depth - start
            x_block = tl.load(x, mask=is_step[None, :], other=0.0)
            weight_block = tl.load(weight, mask=is_step[:, None], other=0.0)
        total = tl.dot(x_block, weight_block, total, input_precision="ieee")
        x += BLOCK_DEPTH
        weight += BLOCK_DEPTH
    return total


@triton.jit(do_not_specialize=["num_rows"])
def _linear_kernel(
    out: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    num_rows: tl.tensor,
    num_columns: tl.tensor,
    depth: tl.tensor,
    x_stride: tl.tensor,
    ACTIVATION: tl.constexpr,
    IS_EVEN: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
) -> None:
    rows, columns = tile_places(tl.program_id(0), num_rows, num_columns, GROUP, BLOCK_ROWS, BLOCK_COLUMNS)
    y = product(x, weight, rows, columns, num_rows, num_columns, depth, x_stride, IS_EVEN, BLOCK_DEPTH)
    if bias is not None:
        y += tl.load(bias + columns, mask=columns < num_columns, other=0.0).to(tl.float32)[None, :]
    y = activate(y, ACTIVATION)
    pointers = out + rows.to(tl.int64)[:, None] * num_columns + columns[None, :]
    mask = (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
    tl.store(pointers, y.to(out.dtype.element_ty), mask=mask)
