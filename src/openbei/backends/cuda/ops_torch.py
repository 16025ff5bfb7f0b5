"""The operations in plain torch, on any device: for tests on a CPU, and for float32 on a GPU.

Attention, pooling and term weights loop over sequences: simple, slow, and the loops wait for the device.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from openbei.backends.cuda import nvfp4
from openbei.backends.cuda.ops import (
    AttentionSwitches,
    ExpertWeights,
    LinearWeights,
    NormWeights,
    Quantized,
    Queries,
    RelativeTerms,
    RotaryTables,
    Rows,
)
from openbei.spec import Activation, Pooling

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "tanh": torch.tanh,
}

POOLINGS: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda rows, places: rows[0],
    "max": lambda rows, places: rows.amax(dim=0),
    "mean": lambda rows, places: rows.mean(dim=0),
    "mean_sqrt_len": lambda rows, places: rows.sum(dim=0) / len(rows) ** 0.5,
    "weighted_mean": lambda rows, places: places @ rows / places.sum(),
    "last_token": lambda rows, places: rows[-1],
}
"""Rows [n, H] of a sequence's pooled tokens, and their positions [n], counted from 1 -> the pooled row [H]."""

LARGEST = 448.0
"""The largest finite number of float8_e4m3fn."""


class TorchOps:
    """See `openbei.backends.cuda.ops.Ops`; `dtype` is the element type of activations."""

    query_block = 64

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def embed(
        self,
        tables: tuple[Tensor, ...],
        rows: tuple[Tensor, ...],
        *,
        scale: float,
        norm: NormWeights | None,
        dtype: torch.dtype,
    ) -> Tensor:
        """See `Ops`."""
        x = functional.embedding(rows[0], tables[0]).float() * scale
        for table, own_rows in zip(tables[1:], rows[1:], strict=True):
            x = x + functional.embedding(own_rows, table)
        return (_norm(x, norm) if norm else x).to(dtype)

    def linear(self, x: Rows, weights: LinearWeights, activation: Activation | None = None) -> Tensor:
        """See `Ops`."""
        if isinstance(x, Tensor) and weights.block_scales is not None:
            y = self.block_scaled(x, weights)
        elif isinstance(x, Quantized) and weights.scales is not None:
            y = torch._scaled_mm(
                x.values,
                weights.weight.t(),
                scale_a=x.scales,
                scale_b=weights.scales[None],
                bias=weights.bias,
                out_dtype=self._dtype,
            )
        else:
            y = functional.linear(x, weights.weight, weights.bias)
        return ACTIVATIONS[activation](y) if activation else y

    def block_scaled(self, x: Tensor, weights: LinearWeights) -> Tensor:
        """x · weightᵀ + bias for an nvfp4 weight, [R, out_features] in the element type of `x`."""
        rows = nvfp4.quantize(x)
        y = nvfp4.product(rows, weights.weight, weights.block_scales) * rows.scales * weights.scales
        return (y if weights.bias is None else y + weights.bias).to(x.dtype)

    def norm(
        self,
        x: Tensor,
        norm: NormWeights,
        residual: Tensor | None = None,
        *,
        dtype: torch.dtype,
        quantizes: bool = False,
    ) -> Rows:
        """See `Ops`."""
        normed = _norm(x.float() if residual is None else x.float() + residual, norm)
        return self.quantize(normed) if quantizes else normed.to(dtype)

    def add_norm(
        self, x: Tensor, norm: NormWeights, residual: Tensor, *, dtype: torch.dtype, quantizes: bool = False
    ) -> tuple[Rows, Tensor]:
        """See `Ops`."""
        total = x.float() + residual
        normed = _norm(total, norm)
        return self.quantize(normed) if quantizes else normed.to(dtype), total.to(residual.dtype)

    def quantize(self, x: Tensor) -> Quantized:
        """See `Ops`. Rows of zeros have the scale 1."""
        numbers = x.float()
        largest = numbers.abs().amax(dim=1, keepdim=True)
        scales = torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))
        values = (numbers / scales).clamp(-LARGEST, LARGEST)
        return Quantized(values.to(torch.float8_e4m3fn), scales)

    def rotate_heads(
        self, x: Tensor, positions: Tensor, rotary: RotaryTables | None, norm: NormWeights | None, *, head_dim: int
    ) -> None:
        """See `Ops`."""
        heads = x.float().unflatten(1, (-1, head_dim))
        if norm:
            heads = _norm(heads, norm)
        if rotary:
            cosines, sines = (table[positions][:, None] for table in (rotary.cosines, rotary.sines))
            half = cosines.shape[-1]
            first, second, rest = heads.split([half, half, head_dim - 2 * half], dim=2)
            rotated = (first * cosines - second * sines, second * cosines + first * sines, rest)
            heads = torch.cat(rotated, dim=2)
        x.copy_(heads.flatten(1))

    def attention(
        self,
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
        """See `Ops`. The work list is not used."""
        mixed = torch.zeros(len(q), switches.num_heads * switches.head_dim, dtype=q.dtype, device=q.device)
        sharing = switches.num_heads // switches.num_kv_heads
        first = queries.first.tolist()
        ranges = zip(_ranges(cu_seqlens), _ranges(queries.cu_queries), strict=True)
        for sequence, ((start, end), (q_start, q_end)) in enumerate(ranges):
            if start == end or q_start == q_end:
                continue
            own_q = _heads(q[q_start:q_end], switches.head_dim)
            own_k, own_v = (
                _heads(each[start:end], switches.head_dim).repeat_interleave(sharing, dim=0) for each in (k, v)
            )
            places = torch.arange(q_end - q_start, device=q.device) + first[sequence]
            distances = torch.arange(end - start, device=q.device) - places[:, None]  # of the key from the query
            scores = own_q @ own_k.transpose(1, 2)
            if relative:
                scores += _relative_scores(relative, distances, (start, end), (q_start, q_end))
            scores = _masked(_scaled(scores, switches), distances, switches, bias)
            if num_keys is not None:
                scores[:, :, int(num_keys[sequence]) :] = -torch.inf
            weights = torch.softmax(scores, dim=-1).nan_to_num(0)  # NaN for a query without keys
            mixed[q_start:q_end] = (weights @ own_v).transpose(0, 1).flatten(1).to(q.dtype)
        return mixed

    def relate(self, x: Tensor, table: Tensor, *, num_heads: int) -> Tensor:
        """See `Ops`."""
        heads = x.unflatten(1, (-1, table.shape[2])).transpose(0, 1)
        return heads.repeat_interleave(num_heads // len(heads), dim=0) @ table.transpose(1, 2)

    def gate(self, x: Tensor, activation: Activation, *, quantizes: bool = False) -> Rows:
        """See `Ops`."""
        gate, up = x.float().chunk(2, dim=1)
        gated = ACTIVATIONS[activation](gate) * up
        return self.quantize(gated) if quantizes else gated.to(x.dtype)

    def experts(self, x: Tensor, weights: ExpertWeights, activation: Activation) -> Tensor:
        """See `Ops`."""
        shares = torch.softmax(self.linear(x.float(), weights.router), dim=1)
        best, chosen = shares.topk(weights.top_k, dim=1)
        if weights.normalizes:
            best = best / best.sum(dim=1, keepdim=True)
        experts, order = chosen.flatten().sort(stable=True)
        rows = order // weights.top_k
        ends = torch.searchsorted(experts, torch.arange(len(weights.up), device=x.device), right=True).int()
        inner = _grouped_linear(x[rows], weights.up, weights.up_bias, experts, ends)
        inner = self.gate(inner, activation) if weights.is_gated else ACTIVATIONS[activation](inner)
        outputs = _grouped_linear(inner, weights.down, weights.down_bias, experts, ends)
        mixed = weights.bias.float().repeat(len(x), 1)
        mixed.index_add_(0, rows, outputs.float() * best.flatten()[order][:, None])
        return mixed.to(x.dtype)

    def windows(self, x: Tensor, cu_seqlens: Tensor, width: int) -> Tensor:
        """See `Ops`."""
        tokens = torch.arange(len(x), device=x.device)
        sequences = torch.searchsorted(cu_seqlens, tokens, right=True, out_int32=True) - 1
        starts = cu_seqlens[sequences]
        ends = cu_seqlens[(sequences + 1).clamp(max=len(cu_seqlens) - 1)]
        rows = tokens[:, None] + torch.arange(-(width // 2), width // 2 + 1, device=x.device)
        is_inside = (rows >= starts[:, None]) & (rows < ends[:, None])
        return (x[rows.clamp(0, len(x) - 1)] * is_inside[..., None]).flatten(1)

    def pool(self, x: Tensor, pooling: Pooling, starts: Tensor, ends: Tensor, cu_seqlens: Tensor) -> Tensor:
        """See `Ops`. Rows of empty sequences are zero."""
        pooled = torch.zeros(len(starts), x.shape[1], dtype=torch.float32, device=x.device)
        bounds = zip(starts.tolist(), ends.tolist(), cu_seqlens.tolist()[:-1], strict=True)
        for sequence, (start, end, begin) in enumerate(bounds):
            if start < end:
                places = torch.arange(start - begin + 1, end - begin + 1, dtype=torch.float32, device=x.device)
                pooled[sequence] = POOLINGS[pooling](x[start:end].float(), places)
        return pooled

    def unit_norm(self, x: Tensor, eps: float) -> Tensor:
        """See `Ops`."""
        return functional.normalize(x.float(), dim=1, eps=eps).to(x.dtype)

    def term_maxima(self, x: Tensor, weights: LinearWeights, cu_seqlens: Tensor) -> Tensor:
        """See `Ops`."""
        ranges = list(_ranges(cu_seqlens))
        maxima = torch.zeros(len(ranges), len(weights.weight), dtype=torch.float32, device=x.device)
        for sequence, (start, end) in enumerate(ranges):
            if start < end:
                maxima[sequence] = self.linear(x[start:end], weights).float().amax(dim=0)
        return maxima.clamp(min=0).log1p()


def _norm(x: Tensor, norm: NormWeights) -> Tensor:
    """LayerNorm or RMSNorm along the last axis, float32."""
    if not norm.is_rms:
        x = x - x.mean(dim=-1, keepdim=True)
    normed = x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + norm.eps) * norm.weight
    return normed if norm.bias is None else normed + norm.bias


def _grouped_linear(x: Tensor, weight: Tensor, bias: Tensor | None, experts: Tensor, ends: Tensor) -> Tensor:
    """Rows sorted by expert, each through its expert's linear layer: [R, K] and [E, N, K] -> [R, N].

    `experts` is the expert of each row, and `ends` int32 [E] the end of each expert's rows. The grouped product needs
    rows of multiples of 16 bytes; other sizes, which are rare, are padded.
    """
    multiple, num_outputs = 16 // x.element_size(), weight.shape[1]
    missing = (-weight.shape[2] % multiple, -num_outputs % multiple)
    if any(missing):
        x, weight = functional.pad(x, (0, missing[0])), functional.pad(weight, (0, missing[0], 0, missing[1]))
    y = functional.grouped_mm(x, weight.transpose(1, 2), offs=ends)[:, :num_outputs]
    return y if bias is None else y + bias[experts]


def _ranges(bounds: Tensor) -> Iterator[tuple[int, int]]:
    return pairwise(bounds.tolist())


def _heads(x: Tensor, head_dim: int) -> Tensor:
    """[n, heads · D] -> float32 [heads, n, D]."""
    return x.float().unflatten(1, (-1, head_dim)).transpose(0, 1)


def _relative_scores(
    relative: RelativeTerms, distances: Tensor, keys: tuple[int, int], queries: tuple[int, int]
) -> Tensor:
    """The position terms of one sequence's scores, float32 [num_heads, n_q, n_k]."""
    rows = relative.rows[distances + len(relative.rows) // 2].long()
    total = torch.zeros((), device=rows.device)
    if relative.c2p is not None:
        terms = relative.c2p[:, slice(*queries)].float()
        total = total + terms.gather(2, rows.expand(len(terms), -1, -1))
    if relative.p2c is not None:
        terms = relative.p2c[:, slice(*keys)].float()
        total = total + terms.gather(2, rows.T.expand(len(terms), -1, -1)).transpose(1, 2)
    return total


def _scaled(scores: Tensor, switches: AttentionSwitches) -> Tensor:
    scores = scores * switches.scale
    return torch.tanh(scores / switches.softcap) * switches.softcap if switches.softcap else scores


def _masked(scores: Tensor, distances: Tensor, switches: AttentionSwitches, bias: Tensor | None) -> Tensor:
    """Scores with the bias by distance, and -inf for keys that are not attended to."""
    if bias is not None:
        scores = scores + bias[:, distances + bias.shape[1] // 2]
    excluded = torch.zeros_like(distances, dtype=torch.bool)
    if switches.is_causal:
        excluded |= distances > 0
    if switches.window is not None:
        excluded |= distances.abs() > switches.window
    return scores.masked_fill(excluded, float("-inf"))
