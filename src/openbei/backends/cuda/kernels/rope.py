"""Rotary embeddings of queries and keys in place, after an optional norm.

For each head, columns i and i + dim / 2 become x_i·cos - x_{i+dim/2}·sin and x_{i+dim/2}·cos + x_i·sin, with the
cosines and sines of the token's position; columns from dim on are unchanged. The norm applies before that, to each head
or to all heads of a row together.

A kernel program handles some heads of one row, in float32. [R, heads · D] in 16 bits: 4·R·heads·D bytes, and 4·R·dim
for the tables, which stay in the caches for the other heads; about 10·R·heads·D operations, so memory is the limit.
"""

import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.kernels.norm import kind_of, norm_arguments
from openbei.backends.cuda.ops import NormWeights, RotaryTables

_BLOCK_ELEMENTS = 2048


def rotate_heads(
    x: Tensor,
    positions: Tensor,
    rotary: RotaryTables | None,
    norm: NormWeights | None,
    *,
    head_dim: int,
    norms_all_heads: bool = False,
) -> None:
    """Change heads x [R, heads · D] in place; see `Ops.rotate_heads`.

    With `norms_all_heads`, a norm applies to the concatenated heads of `x`.
    """
    num_rows, num_heads = x.shape[0], x.shape[1] // head_dim
    half = rotary.cosines.shape[1] if rotary else head_dim // 2
    rest = head_dim - 2 * half
    block_half = triton.next_power_of_2(half)
    block_heads = triton.next_power_of_2(num_heads)
    if not norms_all_heads:
        block_heads = min(block_heads, max(_BLOCK_ELEMENTS // (2 * block_half), 1))
    launch(
        _rotate_kernel,
        (num_rows, triton.cdiv(num_heads, block_heads)),
        x,
        positions,
        *(rotary.cosines, rotary.sines) if rotary else (None, None),
        *norm_arguments(norm),
        x.stride(0),
        num_heads,
        HEAD_DIM=head_dim,
        HALF=half,
        NORM=kind_of(norm),
        NORMS_ALL_HEADS=norms_all_heads,
        BLOCK_HEADS=block_heads,
        BLOCK_HALF=block_half,
        BLOCK_REST=triton.next_power_of_2(rest) if rest else 0,
        num_warps=min(max(block_heads * block_half // 256, 1), 16),
    )


@triton.jit
def _total(x: tl.tensor, ALL_HEADS: tl.constexpr) -> tl.tensor:
    """Sums of the heads [heads, columns], or of all of them together, as [heads, 1]."""
    by_head = tl.sum(x, axis=1, keep_dims=True)
    if ALL_HEADS:
        by_head = tl.sum(by_head, axis=0, keep_dims=True)
    return by_head


@triton.jit
def _scale_part(
    x: tl.tensor, factor: tl.tensor, weight: tl.tensor, bias: tl.tensor, offsets: tl.tensor, mask: tl.tensor
) -> tl.tensor:
    """x · factor · weight + bias of some of the columns of heads."""
    y = x * factor * tl.load(weight + offsets, mask=mask, other=0.0)
    if bias is not None:
        y += tl.load(bias + offsets, mask=mask, other=0.0)
    return y


@triton.jit
def _rotate_kernel(
    x: tl.tensor,
    positions: tl.tensor,
    cosines: tl.tensor,
    sines: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    eps: tl.tensor,
    x_stride: tl.tensor,
    num_heads: tl.tensor,
    HEAD_DIM: tl.constexpr,
    HALF: tl.constexpr,
    NORM: tl.constexpr,
    NORMS_ALL_HEADS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
    BLOCK_REST: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    heads = (tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS))[:, None]
    pairs = tl.arange(0, BLOCK_HALF)[None, :]
    x += row * x_stride
    at = heads * HEAD_DIM + pairs
    mask = (heads < num_heads) & (pairs < HALF)
    first = tl.load(x + at, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(x + at + HALF, mask=mask, other=0.0).to(tl.float32)
    if BLOCK_REST > 0:
        others = 2 * HALF + tl.arange(0, BLOCK_REST)[None, :]
        rest_at = heads * HEAD_DIM + others
        rest_mask = (heads < num_heads) & (others < HEAD_DIM)
        rest = tl.load(x + rest_at, mask=rest_mask, other=0.0).to(tl.float32)
    if NORM is not None:
        width = HEAD_DIM * (num_heads if NORMS_ALL_HEADS else 1)
        if NORM == "layer":
            total = _total(first + second, NORMS_ALL_HEADS)
            if BLOCK_REST > 0:
                total += _total(rest, NORMS_ALL_HEADS)
                rest = tl.where(rest_mask, rest - total / width, 0.0)
            first = tl.where(mask, first - total / width, 0.0)
            second = tl.where(mask, second - total / width, 0.0)
        squares = _total(first * first + second * second, NORMS_ALL_HEADS)
        if BLOCK_REST > 0:
            squares += _total(rest * rest, NORMS_ALL_HEADS)
        factor = tl.rsqrt(squares / width + eps)
        first = _scale_part(first, factor, weight, bias, at, mask)
        second = _scale_part(second, factor, weight, bias, at + HALF, mask)
        if BLOCK_REST > 0:
            rest = _scale_part(rest, factor, weight, bias, rest_at, rest_mask)
            tl.store(x + rest_at, rest.to(x.dtype.element_ty), mask=rest_mask)
    if cosines is not None:
        angle = tl.load(positions + row).to(tl.int64) * HALF + pairs
        cosine = tl.load(cosines + angle, mask=pairs < HALF, other=0.0)
        sine = tl.load(sines + angle, mask=pairs < HALF, other=0.0)
        rotated = first * cosine - second * sine
        second = second * cosine + first * sine
        first = rotated
    tl.store(x + at, first.to(x.dtype.element_ty), mask=mask)
    tl.store(x + at + HALF, second.to(x.dtype.element_ty), mask=mask)
