"""Norms, with the embeddings or the residual before them.

LayerNorm is (x - mean) / sqrt(var + eps) · weight + bias, RMSNorm x / sqrt(mean(x²) + eps) · weight, with
x = scale · tokens[t] + positions[p] + types[y] for embeddings, and x = x + residual in a layer.

A kernel program handles one row and keeps it in registers, in float32. Bytes for [R, H] in 16 bits: 2·R·H for each
input, the normed rows and the sum; R·H for normed rows in e4m3. About 8·R·H operations, so memory is the limit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.kernels.quantize import empty_rows, row_block, store_row
from openbei.backends.cuda.ops import NormWeights, Rows


def embed(
    tables: tuple[Tensor, ...],
    rows: tuple[Tensor, ...],
    *,
    scale: float,
    norm: NormWeights | None,
    dtype: torch.dtype,
) -> Tensor:
    """Sum rows of one to three tables, the first times `scale`, and normalize them; see `Ops.embed`."""
    num_rows, width = len(rows[0]), tables[0].shape[1]
    out = torch.empty(num_rows, width, dtype=dtype, device=tables[0].device)
    pairs = [each for pair in zip(tables, rows, strict=True) for each in pair]
    pairs += pairs[:2] * (3 - len(tables))
    block, num_warps = row_block(width)
    launch(
        _embed_kernel,
        (num_rows,),
        out,
        *pairs,
        *norm_arguments(norm),
        scale,
        width,
        NUM_TABLES=len(tables),
        NORM=kind_of(norm),
        BLOCK=block,
        num_warps=num_warps,
    )
    return out


def norm(
    x: Tensor, norm: NormWeights, residual: Tensor | None = None, *, dtype: torch.dtype, quantizes: bool = False
) -> Rows:
    """norm(x + residual), in `dtype` or quantized; see `Ops.norm`."""
    return _launch_norm(x, norm, residual, None, dtype, quantizes)


def add_norm(
    x: Tensor, norm: NormWeights, residual: Tensor, *, dtype: torch.dtype, quantizes: bool = False
) -> tuple[Rows, Tensor]:
    """norm(x + residual) as above, and the sum in the element type of `residual`; see `Ops.add_norm`."""
    total = torch.empty(residual.shape, dtype=residual.dtype, device=x.device)
    return _launch_norm(x, norm, residual, total, dtype, quantizes), total


def _launch_norm(
    x: Tensor,
    norm: NormWeights,
    residual: Tensor | None,
    total: Tensor | None,
    dtype: torch.dtype,
    quantizes: bool,
) -> Rows:
    num_rows, width = x.shape
    if quantizes:
        normed: Rows = empty_rows(x, num_rows, width)
    else:
        normed = torch.empty(num_rows, width, dtype=dtype, device=x.device)
    block, num_warps = row_block(width)
    launch(
        _norm_kernel,
        (num_rows,),
        *(normed if isinstance(normed, tuple) else (normed, None)),
        total,
        x,
        residual,
        *norm_arguments(norm),
        x.stride(0),
        0 if residual is None else residual.stride(0),
        width,
        NORM=kind_of(norm),
        BLOCK=block,
        num_warps=num_warps,
    )
    return normed


def kind_of(norm: NormWeights | None) -> str | None:
    """The constant that selects a norm in a kernel."""
    if norm is None:
        return None
    return "rms" if norm.is_rms else "layer"


def norm_arguments(norm: NormWeights | None) -> tuple[Tensor | None, Tensor | None, float]:
    """Weight, bias and eps."""
    return (norm.weight, norm.bias, norm.eps) if norm else (None, None, 0.0)


@triton.jit
def normalize(
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    eps: tl.tensor,
    columns: tl.tensor,
    width: tl.tensor,
    NORM: tl.constexpr,
) -> tl.tensor:
    """Normalize a row x, float32, which is 0 in columns from `width` on, and so is the result."""
    is_column = columns < width
    if NORM == "layer":
        x = tl.where(is_column, x - tl.sum(x) / width, 0.0)
    factor = tl.rsqrt(tl.sum(x * x) / width + eps)
    y = x * factor * tl.load(weight + columns, mask=is_column, other=0.0)
    if NORM == "layer":
        y += tl.load(bias + columns, mask=is_column, other=0.0)
    return y


@triton.jit
def _load_row(table: tl.tensor, row: tl.tensor, columns: tl.tensor, stride: tl.tensor, width: tl.tensor) -> tl.tensor:
    return tl.load(table + row.to(tl.int64) * stride + columns, mask=columns < width, other=0.0).to(tl.float32)


@triton.jit
def _embed_kernel(
    out: tl.tensor,
    tokens: tl.tensor,
    token_rows: tl.tensor,
    positions: tl.tensor,
    position_rows: tl.tensor,
    types: tl.tensor,
    type_rows: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    eps: tl.tensor,
    scale: tl.tensor,
    width: tl.tensor,
    NUM_TABLES: tl.constexpr,
    NORM: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    x = _load_row(tokens, tl.load(token_rows + row), columns, width, width) * scale
    if NUM_TABLES > 1:
        x += _load_row(positions, tl.load(position_rows + row), columns, width, width)
    if NUM_TABLES > 2:
        x += _load_row(types, tl.load(type_rows + row), columns, width, width)
    if NORM is not None:
        x = normalize(x, weight, bias, eps, columns, width, NORM)
    tl.store(out + row * width + columns, x.to(out.dtype.element_ty), mask=columns < width)


@triton.jit
def _norm_kernel(
    normed: tl.tensor,
    scales: tl.tensor,
    total: tl.tensor,
    x: tl.tensor,
    residual: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    eps: tl.tensor,
    x_stride: tl.tensor,
    residual_stride: tl.tensor,
    width: tl.tensor,
    NORM: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    summed = _load_row(x, row, columns, x_stride, width)
    if residual is not None:
        summed += _load_row(residual, row, columns, residual_stride, width)
    if total is not None:
        tl.store(total + row * width + columns, summed.to(total.dtype.element_ty), mask=columns < width)
    y = normalize(summed, weight, bias, eps, columns, width, NORM)
    if scales is not None:
        store_row(normed, scales, row, y, columns, width)
    else:
        tl.store(normed + row * width + columns, y.to(normed.dtype.element_ty), mask=columns < width)
