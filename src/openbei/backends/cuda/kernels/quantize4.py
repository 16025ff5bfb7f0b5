"""Linear layers in 4 bits: rows are quantized, the matrix units multiply, and a last kernel applies scales and bias.

See `openbei.backends.cuda.nvfp4`. A kernel program quantizes one row and keeps it in registers: [R, K] in 16 bits takes
2.6·R·K bytes. Scales and bias: 4·R·N bytes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.kernels.quantize import row_block
from openbei.backends.cuda.nvfp4 import TILE_BLOCKS, TILE_ROWS, Rows4
from openbei.backends.cuda.ops import LinearWeights
from openbei.formats.float8 import Float8
from openbei.formats.nvfp4 import BLOCK, LARGEST

_LARGEST = tl.constexpr(LARGEST)
_LARGEST_SCALE = tl.constexpr(Float8.largest)
_COLUMNS = 1024


def linear(x: Tensor, weights: LinearWeights) -> Tensor:
    """x · weightᵀ + bias of rows [R, K], which may be strided: [R, N] in the element type of `x`."""
    rows = quantize(x)
    tiled, scaling = functional.SwizzleType.SWIZZLE_32_4_4, functional.ScalingType.BlockWise1x16
    y = functional.scaled_mm(
        rows.values.view(torch.float4_e2m1fn_x2),
        weights.weight.view(torch.float4_e2m1fn_x2).t(),
        rows.block_scales,
        scaling,
        weights.block_scales,
        scaling,
        tiled,
        tiled,
        output_dtype=x.dtype,
    )
    rescale(y, rows.scales, weights.scales, weights.bias)
    return y


def quantize(x: Tensor) -> Rows4:
    """Quantize rows [R, K], which may be strided; K is a multiple of 64."""
    num_rows, width = x.shape
    values = torch.empty(num_rows, width // 2, dtype=torch.uint8, device=x.device)
    padded = -(-num_rows // TILE_ROWS) * TILE_ROWS
    block_scales = torch.empty(padded * width // BLOCK, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(num_rows, 1, dtype=torch.float32, device=x.device)
    block, num_warps = row_block(width)
    launch(
        _quantize_kernel,
        (num_rows,),
        *(values, block_scales, scales, x, x.stride(0), width),
        BLOCK=block,
        NUM_TILES=width // BLOCK // TILE_BLOCKS,
        num_warps=num_warps,
    )
    return Rows4(values, block_scales, scales)


def rescale(y: Tensor, row_scales: Tensor, column_scales: Tensor | None, bias: Tensor | None) -> None:
    """Change y [R, N] in place: y · row_scales [R, 1] · column_scales [N] + bias [N]."""
    num_rows, width = y.shape
    launch(
        _rescale_kernel,
        (num_rows, triton.cdiv(width, _COLUMNS)),
        *(y, row_scales, column_scales, bias, width),
        BLOCK=_COLUMNS,
        num_warps=4,
    )


@triton.jit
def _quantize_kernel(
    values: tl.tensor,
    block_scales: tl.tensor,
    scales: tl.tensor,
    x: tl.tensor,
    x_stride: tl.tensor,
    width: tl.tensor,
    BLOCK: tl.constexpr,
    NUM_TILES: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    numbers = tl.load(x + row * x_stride + columns, mask=columns < width, other=0.0).to(tl.float32)
    scale = tl.max(tl.abs(numbers)) / (_LARGEST * _LARGEST_SCALE)
    blocks = tl.reshape(numbers, (BLOCK // 16, 16))
    largest = tl.max(tl.abs(blocks), axis=1)
    stored = tl.where(scale > 0, largest / (scale * _LARGEST), 0.0).to(block_scales.dtype.element_ty)
    divisors = stored.to(tl.float32) * scale
    quotients = tl.where((divisors > 0)[:, None], blocks / divisors[:, None], 0.0)
    magnitudes = tl.abs(quotients)
    codes = (magnitudes > 0.25).to(tl.uint8) + (magnitudes >= 0.75).to(tl.uint8) + (magnitudes > 1.25).to(tl.uint8)
    codes += (magnitudes >= 1.75).to(tl.uint8) + (magnitudes > 2.5).to(tl.uint8) + (magnitudes >= 3.5).to(tl.uint8)
    codes += (magnitudes > 5.0).to(tl.uint8)
    codes = tl.where(quotients < 0, codes | 8, codes)
    first, second = tl.split(tl.reshape(codes, (BLOCK // 2, 2)))
    pairs = tl.arange(0, BLOCK // 2)
    tl.store(values + row * (width // 2) + pairs, first | (second << 4), mask=pairs < width // 2)
    block = tl.arange(0, BLOCK // 16)
    tile = row // 128 * NUM_TILES + block // 4
    place = tile * 512 + row % 32 * 16 + row % 128 // 32 * 4 + block % 4
    tl.store(block_scales + place, stored, mask=block < width // 16)
    tl.store(scales + row, scale)


@triton.jit
def _rescale_kernel(
    y: tl.tensor,
    row_scales: tl.tensor,
    column_scales: tl.tensor,
    bias: tl.tensor,
    width: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = columns < width
    numbers = tl.load(y + row * width + columns, mask=mask).to(tl.float32)
    numbers *= tl.load(row_scales + row) * tl.load(column_scales + columns, mask=mask)
    if bias is not None:
        numbers += tl.load(bias + columns, mask=mask).to(tl.float32)
    tl.store(y + row * width + columns, numbers.to(y.dtype.element_ty), mask=mask)
