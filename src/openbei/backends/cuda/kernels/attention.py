"""Softmax attention within packed sequences, with an online softmax in float32 (Dao, arXiv:2307.08691).

out_i = Σ_j softmax(score)_ij · v_j, where for query i and key j of a sequence, d = position of j - position of i and
score_ij = softcap(scale · (q_i · k_j + c2p[i, row(d)] + p2c[j, row(d)])) + bias[d].

A kernel program handles one tile of the work list, a block of queries, for one head, and loops over blocks of keys.
Blocks that causality or the window exclude for all queries are skipped; only blocks at the edges are masked. The grid
depends on the number of tiles, not on lengths. Exponentials are powers of 2.

For n queries of a sequence, each with m visible keys, a head takes 4·n·m·D operations and n·m exponentials. In 16 bits,
it reads and writes 4·n·D bytes for queries and outputs. Each query block reads 4·m·D bytes for keys and values, mostly
from the L2 cache, because heads that share them have neighbouring programs.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.activation import LOG2_E, tanh
from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.ops import AttentionSwitches, Queries, RelativeTerms

_LOWEST = tl.constexpr(-1e30)  # finite, so that a row without visible keys in a block yields no NaN

MIN_BLOCK = 16
"""The smallest number of rows of a matrix product."""


class Blocks(NamedTuple):
    """Keys of a block, warps of a program, and stages of the pipeline that loads blocks of keys ahead."""

    keys: int
    num_warps: int
    num_stages: int


def blocks_for(query_block: int, head_dim: int) -> Blocks:
    """The sizes for blocks of queries, chosen so that few or no registers are spilled on any supported card."""
    num_warps = 8 if query_block > 64 or head_dim > 128 else 4
    if head_dim > 64:
        return Blocks(keys=32, num_warps=num_warps, num_stages=2)
    return Blocks(keys=64, num_warps=num_warps, num_stages=3)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    queries: Queries,
    switches: AttentionSwitches,
    *,
    num_keys: Tensor | None = None,
    bias: Tensor | None = None,
    relative: RelativeTerms | None = None,
) -> Tensor:
    """Attention of q [Q, A] to k and v [T, K] -> [Q, A]; see `Ops.attention`. Distances beyond `reach` are clipped."""
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    rows, c2p, p2c = (relative.rows, relative.c2p, relative.p2c) if relative else (None, None, None)
    by_distance = bias if rows is None else rows
    blocks = blocks_for(queries.block, switches.head_dim)
    launch(
        _attention_kernel,
        (len(queries.tiles) * switches.num_heads,),
        *(out, q, k, v, queries.cu_queries, queries.first, cu_seqlens, num_keys, queries.tiles),
        *(q.stride(0), k.stride(0), v.stride(0), out.stride(0)),
        (bias, 0 if by_distance is None else by_distance.shape[-1] // 2),
        (rows, c2p, p2c, *_strides(c2p), *_strides(p2c)),
        (switches.scale, switches.softcap or None),
        switches.window,
        NUM_HEADS=switches.num_heads,
        HEADS_PER_KEY=switches.num_heads // switches.num_kv_heads,
        HEAD_DIM=switches.head_dim,
        IS_CAUSAL=switches.is_causal,
        TILE_QUERIES=queries.block,
        BLOCK_QUERIES=max(queries.block, MIN_BLOCK),
        BLOCK_KEYS=blocks.keys,
        BLOCK_COLUMNS=max(triton.next_power_of_2(switches.head_dim), MIN_BLOCK),
        num_warps=blocks.num_warps,
        num_stages=blocks.num_stages,
    )
    return out


def _strides(terms: Tensor | None) -> tuple[int, int]:
    """Elements from one head to the next, and from one row to the next."""
    return (0, 0) if terms is None else (terms.stride(0), terms.stride(1))


@triton.jit
def key_ranges(
    first: tl.tensor,
    last: tl.tensor,
    length: tl.tensor,
    window: tl.tensor,
    IS_CAUSAL: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Bounds of three ranges of keys: masked, visible to all queries, masked.

    The queries are at positions `first` to `last` of a sequence of `length` tokens. Keys outside of the ranges are
    visible to no query. The first three bounds are multiples of BLOCK_KEYS.
    """
    start = 0
    all_start = 0
    end = length
    all_end = length
    if IS_CAUSAL:
        end = min(end, last + 1)
        all_end = min(all_end, first + 1)
    if window is not None:
        start = max(first - window, 0) // BLOCK_KEYS * BLOCK_KEYS
        all_start = (max(last - window, 0) + BLOCK_KEYS - 1) // BLOCK_KEYS * BLOCK_KEYS
        end = min(end, last + window + 1)
        all_end = min(all_end, first + window + 1)
    all_start = min(all_start, (end + BLOCK_KEYS - 1) // BLOCK_KEYS * BLOCK_KEYS)
    all_end = max(all_end // BLOCK_KEYS * BLOCK_KEYS, all_start)
    return start, all_start, all_end, end


@triton.jit
def _load(
    x: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    stride: tl.tensor,
    length: tl.tensor,
    IS_MASKED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
) -> tl.tensor:
    """Rows of a head, with zeros in rows from `length` on if IS_MASKED, and in columns from HEAD_DIM on."""
    pointers = x + rows * stride + columns
    if IS_MASKED:
        return tl.load(pointers, mask=(rows < length) & (columns < HEAD_DIM), other=0.0)
    if HEAD_DIM < BLOCK_COLUMNS:
        return tl.load(pointers, mask=columns < HEAD_DIM, other=0.0)
    return tl.load(pointers)


@triton.jit
def _scores(
    products: tl.tensor,
    distances: tl.tensor,
    keys: tl.tensor,
    is_query: tl.tensor,
    length: tl.tensor,
    place: tl.tuple,
    by_distance: tl.tuple,
    relative: tl.tuple,
    scaling: tl.tuple,
) -> tuple[tl.tensor, tl.tensor]:
    """Scores [queries, keys] from products, and the factor that they still need to be exponents of 2.

    `place` is the head, the rows of the queries, and the first row of the sequence.
    """
    head, queries, start = place
    bias, reach = by_distance
    rows, c2p, p2c, c2p_head_stride, c2p_stride, p2c_head_stride, p2c_stride = relative
    scale, softcap = scaling
    if rows is not None or bias is not None:
        column = tl.minimum(tl.maximum(distances + reach, 0), 2 * reach)
    if rows is not None:
        row = tl.load(rows + column)
        if c2p is not None:
            own = c2p + head.to(tl.int64) * c2p_head_stride + queries * c2p_stride
            products += tl.load(own[:, None] + row, mask=is_query[:, None], other=0.0).to(tl.float32)
        if p2c is not None:
            own = p2c + head.to(tl.int64) * p2c_head_stride + (start + keys) * p2c_stride
            products += tl.load(own[None, :] + row, mask=(keys < length)[None, :], other=0.0).to(tl.float32)
    factor = scale * LOG2_E
    if softcap is not None:
        products = softcap * tanh(products * (scale / softcap))
        factor = LOG2_E
    if bias is not None:
        if softcap is None:
            products *= scale
            factor = LOG2_E
        products += tl.load(bias + head * (2 * reach + 1) + column)
    return products, factor


@triton.jit
def _accumulate(
    state: tl.tuple,
    start: tl.tensor,
    end: tl.tensor,
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    k_stride: tl.tensor,
    v_stride: tl.tensor,
    positions: tl.tensor,
    is_query: tl.tensor,
    length: tl.tensor,
    place: tl.tuple,
    by_distance: tl.tuple,
    relative: tl.tuple,
    scaling: tl.tuple,
    window: tl.tensor,
    IS_CAUSAL: tl.constexpr,
    IS_MASKED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Continue an online softmax with the keys from `start` to `end`.

    The state of a query is the sum of values so far, the sum of powers of 2, and the largest exponent.
    """
    mixed, total, top = state
    columns = tl.arange(0, BLOCK_COLUMNS)
    for first in tl.range(start, end, BLOCK_KEYS):
        keys = first + tl.arange(0, BLOCK_KEYS)
        k_block = _load(k, keys[None, :], columns[:, None], k_stride, length, IS_MASKED, HEAD_DIM, BLOCK_COLUMNS)
        products = tl.dot(q, k_block, input_precision="ieee")
        distances = keys[None, :] - positions[:, None]
        scores, factor = _scores(products, distances, keys, is_query, length, place, by_distance, relative, scaling)
        if IS_MASKED:
            is_visible = (keys < length)[None, :]
            if IS_CAUSAL:
                is_visible &= distances <= 0
            if window is not None:
                is_visible &= tl.abs(distances) <= window
            scores = tl.where(is_visible, scores, float("-inf"))
        new_top = tl.maximum(top, tl.max(scores, axis=1) * factor)
        weights = tl.exp2(scores * factor - new_top[:, None])
        decay = tl.exp2(top - new_top)
        total = total * decay + tl.sum(weights, axis=1)
        v_block = _load(v, keys[:, None], columns[None, :], v_stride, length, IS_MASKED, HEAD_DIM, BLOCK_COLUMNS)
        mixed = tl.dot(weights.to(v_block.dtype), v_block, mixed * decay[:, None], input_precision="ieee")
        top = new_top
    return mixed, total, top


@triton.jit
def _range_of(bounds: tl.tensor, sequence: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """The first row of a sequence, and its number of rows."""
    start = tl.load(bounds + sequence)
    return start.to(tl.int64), tl.load(bounds + sequence + 1) - start


@triton.jit
def _keys_of(cu_seqlens: tl.tensor, num_keys: tl.tensor, sequence: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """The first row of a sequence, and the number of its keys."""
    start, length = _range_of(cu_seqlens, sequence)
    if num_keys is not None:
        length = tl.load(num_keys + sequence)
    return start, length


@triton.jit
def _attention_kernel(
    out: tl.tensor,
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    cu_queries: tl.tensor,
    first_positions: tl.tensor,
    cu_seqlens: tl.tensor,
    num_keys: tl.tensor,
    tiles: tl.tensor,
    q_stride: tl.tensor,
    k_stride: tl.tensor,
    v_stride: tl.tensor,
    out_stride: tl.tensor,
    by_distance: tl.tuple,
    relative: tl.tuple,
    scaling: tl.tuple,
    window: tl.tensor,
    NUM_HEADS: tl.constexpr,
    HEADS_PER_KEY: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    IS_CAUSAL: tl.constexpr,
    TILE_QUERIES: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
) -> None:
    tile, head = tl.program_id(0) // NUM_HEADS, tl.program_id(0) % NUM_HEADS
    sequence = tl.load(tiles + 2 * tile)
    if sequence < 0:
        return
    start, length = _keys_of(cu_seqlens, num_keys, sequence)
    first_query, num_queries = _range_of(cu_queries, sequence)
    first = tl.load(tiles + 2 * tile + 1) * TILE_QUERIES
    end = min(first + TILE_QUERIES, num_queries)
    places = first + tl.arange(0, BLOCK_QUERIES)
    is_query = places < end
    position = tl.load(first_positions + sequence)
    columns = tl.arange(0, BLOCK_COLUMNS)
    q += first_query * q_stride + head * HEAD_DIM
    k += start * k_stride + head // HEADS_PER_KEY * HEAD_DIM
    v += start * v_stride + head // HEADS_PER_KEY * HEAD_DIM
    q_block = _load(q, places[:, None], columns[None, :], q_stride, end, True, HEAD_DIM, BLOCK_COLUMNS)
    bounds = key_ranges(position + first, position + end - 1, length, window, IS_CAUSAL, BLOCK_KEYS)
    zeros = tl.zeros([BLOCK_QUERIES], tl.float32)
    state = tl.zeros([BLOCK_QUERIES, BLOCK_COLUMNS], tl.float32), zeros, zeros + _LOWEST
    for part in tl.static_range(1 if window is None else 0, 3):
        state = _accumulate(
            state,
            bounds[part],
            bounds[part + 1],
            *(q_block, k, v, k_stride, v_stride, position + places, is_query, length),
            *((head, first_query + places, start), by_distance, relative, scaling, window),
            *(IS_CAUSAL, part != 1, HEAD_DIM, BLOCK_KEYS, BLOCK_COLUMNS),
        )
    mixed, total, _ = state
    mask = is_query[:, None] & (columns < HEAD_DIM)[None, :]
    out += first_query * out_stride + head * HEAD_DIM
    mixed /= tl.where(total == 0.0, 1.0, total)[:, None]  # 0: a query without keys
    tl.store(out + places[:, None] * out_stride + columns[None, :], mixed.to(out.dtype.element_ty), mask=mask)
