"""Rows in 8 bits: e4m3 values with one float32 scale for each row, its largest magnitude / 448.

A kernel program handles one row and keeps it in registers. [R, N] in 16 bits: 3·R·N + 4·R bytes, 3·R·N operations.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.ops import Quantized

_LARGEST = tl.constexpr(448.0)


def row_block(width: int) -> tuple[int, int]:
    """The number of columns of a program that handles a whole row, a power of two, and its number of warps."""
    block = triton.next_power_of_2(width)
    return block, min(max(block // 512, 1), 16)


def empty_rows(like: Tensor, num_rows: int, width: int) -> Quantized:
    """Uninitialized rows on the device of `like`."""
    values = torch.empty(num_rows, width, dtype=torch.float8_e4m3fn, device=like.device)
    return Quantized(values, torch.empty(num_rows, 1, dtype=torch.float32, device=like.device))


def quantize(x: Tensor) -> Quantized:
    """Quantize rows [R, N], which may be strided."""
    num_rows, width = x.shape
    out = empty_rows(x, num_rows, width)
    block, num_warps = row_block(width)
    launch(_quantize_kernel, (num_rows,), *out, x, x.stride(0), width, BLOCK=block, num_warps=num_warps)
    return out


@triton.jit
def store_row(
    values: tl.tensor, scales: tl.tensor, row: tl.tensor, x: tl.tensor, columns: tl.tensor, width: tl.tensor
) -> None:
    """Quantize and store a row x, float32, which is 0 in columns from `width` on. A row of zeros has the scale 0."""
    largest = tl.max(tl.abs(x))
    factor = tl.where(largest > 0, _LARGEST / largest, 0.0)
    quantized = tl.clamp(x * factor, -_LARGEST, _LARGEST).to(values.dtype.element_ty)
    tl.store(values + row * width + columns, quantized, mask=columns < width)
    tl.store(scales + row, largest / _LARGEST)


@triton.jit
def _quantize_kernel(
    values: tl.tensor, scales: tl.tensor, x: tl.tensor, x_stride: tl.tensor, width: tl.tensor, BLOCK: tl.constexpr
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    loaded = tl.load(x + row * x_stride + columns, mask=columns < width, other=0.0).to(tl.float32)
    store_row(values, scales, row, loaded, columns, width)
