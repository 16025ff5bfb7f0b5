"""A mixture of experts: rows sorted by expert, each expert's linear layers over its rows in one launch.

Of R rows with k experts each, R·k are multiplied: 2·R·k·N·K operations for a layer [E, N, K]. A kernel program finds
its expert from the bounds of the sorted rows, so the grid depends only on R, and nothing waits for the device. There is
a program for every tile that could be needed; those beyond the last tile return immediately.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from openbei.backends.cuda.kernels.activation import activate
from openbei.backends.cuda.kernels.gate import gate
from openbei.backends.cuda.kernels.gemm import blocks_for, product, tile_options
from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.ops import ExpertWeights
from openbei.spec import Activation


def experts(x: Tensor, weights: ExpertWeights, activation: Activation) -> Tensor:
    """The weighted sum of `top_k` MLPs for each row of x [R, H], plus a bias: [R, H]; see `Ops.experts`."""
    router, top_k = weights.router, weights.top_k
    shares = torch.softmax(functional.linear(x.float(), router.weight, router.bias), dim=1)
    best, chosen = shares.topk(top_k, dim=1)
    if weights.normalizes:
        best = best / best.sum(dim=1, keepdim=True)
    order = chosen.flatten().argsort(stable=True)
    numbers = torch.arange(len(weights.up) + 1, device=x.device)
    bounds = torch.searchsorted(chosen.flatten()[order], numbers, out_int32=True)
    if weights.is_gated:
        inner = gate(expert_linear(x, order // top_k, bounds, weights.up, weights.up_bias), activation)
    else:
        inner = expert_linear(x, order // top_k, bounds, weights.up, weights.up_bias, activation)
    places = torch.arange(len(order), device=x.device)
    down = expert_linear(inner, places, bounds, weights.down, weights.down_bias)
    of_rows = down[torch.empty_like(order).scatter_(0, order, places)].unflatten(0, (-1, top_k)).float()
    return ((of_rows * best[:, :, None]).sum(dim=1) + weights.bias.float()).to(x.dtype)


def expert_linear(
    x: Tensor, rows: Tensor, bounds: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation | None = None
) -> Tensor:
    """activation(x[rows[i]] · weight[e]ᵀ + bias[e]) for bounds[e] <= i < bounds[e + 1]: weight [E, N, K] -> [n, N]."""
    num_experts, num_columns, depth = weight.shape
    out = torch.empty(len(rows), num_columns, dtype=x.dtype, device=x.device)
    blocks = blocks_for(triton.cdiv(len(rows), num_experts))
    num_tiles = len(rows) // blocks.rows + num_experts
    launch(
        _expert_kernel,
        (num_tiles, triton.cdiv(num_columns, blocks.columns)),
        *(out, x, rows, bounds, weight, bias, len(x), num_columns, depth, x.stride(0), num_experts),
        ACTIVATION=activation,
        BLOCK_EXPERTS=triton.next_power_of_2(num_experts),
        **{name: value for name, value in tile_options(blocks, depth).items() if name != "GROUP"},
    )
    return out


@triton.jit(do_not_specialize=["num_rows"])
def _expert_kernel(
    out: tl.tensor,
    x: tl.tensor,
    source_rows: tl.tensor,
    bounds: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    num_rows: tl.tensor,
    num_columns: tl.tensor,
    depth: tl.tensor,
    x_stride: tl.tensor,
    num_experts: tl.tensor,
    ACTIVATION: tl.constexpr,
    BLOCK_EXPERTS: tl.constexpr,
    IS_EVEN: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
) -> None:
    tile = tl.program_id(0)
    experts = tl.arange(0, BLOCK_EXPERTS)
    starts = tl.load(bounds + experts, mask=experts < num_experts, other=0)
    ends = tl.load(bounds + experts + 1, mask=experts < num_experts, other=0)
    tiles = tl.cdiv(ends - starts, BLOCK_ROWS)
    expert = tl.sum((tl.cumsum(tiles) <= tile).to(tl.int32))  # the number of experts whose tiles all precede this one
    if expert >= num_experts:
        return
    own_tile = tile - tl.sum(tl.where(experts < expert, tiles, 0))
    places = tl.load(bounds + expert) + own_tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    is_place = places < tl.load(bounds + expert + 1)
    rows = tl.load(source_rows + places, mask=is_place, other=0)
    columns = tl.program_id(1) * BLOCK_COLUMNS + tl.arange(0, BLOCK_COLUMNS)
    weight += expert.to(tl.int64) * num_columns * depth
    y = product(x, weight, rows, columns, num_rows, num_columns, depth, x_stride, IS_EVEN, BLOCK_DEPTH)
    if bias is not None:
        biases = tl.load(bias + expert * num_columns + columns, mask=columns < num_columns, other=0.0)
        y += biases.to(tl.float32)[None, :]
    y = activate(y, ACTIVATION)
    pointers = out + places.to(tl.int64)[:, None] * num_columns + columns[None, :]
    tl.store(pointers, y.to(out.dtype.element_ty), mask=is_place[:, None] & (columns < num_columns)[None, :])
