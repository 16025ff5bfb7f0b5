"""The interface of the operations of a program, which `ops_torch` and `ops_triton` implement.

Axes: T tokens of the packed batch, S sequences, Q queries, R rows of any kind, H hidden size, D head_dim, A = num_heads
· D columns of queries, K = num_kv_heads · D columns of keys, I intermediate size, V vocabulary.

Activations have one element type, float16 or bfloat16 on a GPU; tests on a CPU also use float32. All operations
accumulate in float32. Arguments may be views of wider arrays: rows may be strided, columns may not. Operations return
new tensors unless they say otherwise, start no transfer, and do not wait for the device, so that a CUDA graph can
capture them. Batches may be padded: tokens after `cu_seqlens[-1]` belong to no sequence, and their rows are undefined;
the last sequences may be empty, and their rows are undefined too.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from openbei.spec import Activation, Pooling


class Quantized(NamedTuple):
    """Rows in 8 bits: `values` float8_e4m3fn [R, N], times `scales` float32 [R, 1], one for each row."""

    values: Tensor
    scales: Tensor


Rows: TypeAlias = Tensor | Quantized
"""The input of a linear layer."""


@dataclass(frozen=True, slots=True)
class NormWeights:
    """LayerNorm, or RMSNorm if `is_rms`. `weight` is float32 [H]; `bias` is float32 [H], or None for RMSNorm.

    For `rotate_heads` both are [heads, D], with the weights of each head.
    """

    weight: Tensor
    bias: Tensor | None
    eps: float
    is_rms: bool

    def part(self, start: int, stop: int | None = None) -> "NormWeights":
        """The weights of some of the heads."""
        heads = slice(start, stop)
        return NormWeights(self.weight[heads], None if self.bias is None else self.bias[heads], self.eps, self.is_rms)


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """x · weightᵀ + bias. `weight` [out_features, in_features] has the element type of the input, and so has `bias`.

    With `scales`, float32 [out_features], the weight is float8_e4m3fn and the input `Quantized`; the bias then has the
    element type of activations. With `block_scales`, too, the weight is nvfp4, uint8 [out_features, in_features / 2],
    and the input has 16 bits; see `openbei.backends.cuda.nvfp4`. Rows are contiguous.
    """

    weight: Tensor
    bias: Tensor | None = None
    scales: Tensor | None = None
    block_scales: Tensor | None = None

    @property
    def is_quantized(self) -> bool:
        """Whether the input must be `Quantized`."""
        return self.scales is not None and self.block_scales is None

    def outputs(self, start: int, stop: int | None = None) -> "LinearWeights":
        """A view of some of the output columns."""
        part = slice(start, stop)
        bias, scales = (None if each is None else each[part] for each in (self.bias, self.scales))
        return LinearWeights(self.weight[part], bias, scales)


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """The MLPs of a mixture of experts, E of them.

    `router` has E outputs and is float32. `up` is [E, I, H], or [E, 2·I, H] with the gate's rows first if `is_gated`;
    `down` is [E, H, I]. `up_bias` [E, I or 2·I] and `down_bias` [E, H] may be None; `bias` [H] is added once to a row.
    """

    router: LinearWeights
    up: Tensor
    down: Tensor
    up_bias: Tensor | None
    down_bias: Tensor | None
    bias: Tensor
    is_gated: bool
    top_k: int
    normalizes: bool


@dataclass(frozen=True, slots=True)
class RotaryTables:
    """Cosines and sines by position, float32 [positions, dim / 2] each: column i is paired with i + dim / 2."""

    cosines: Tensor
    sines: Tensor


@dataclass(frozen=True, slots=True)
class Queries:
    """The rows for which attention is computed, and the work list of the attention kernel, made by the host.

    The queries of sequence s are rows `cu_queries[s]` to `cu_queries[s + 1]` of the queries, int32 [S + 1]; its first
    query is the token at position `first[s]` of the sequence, int32 [S], and the others follow. If all tokens are
    queries, `cu_queries` is cu_seqlens and `first` is 0.

    `tiles` is int32 [num_tiles, 2]: a sequence, and the number of a block of `block` queries in it, counted from 0.
    Every query is in one tile; tiles with the most work come first. A tile of sequence -1 is padding.
    `positions` is int32 [Q], the position of each query in its sequence.
    """

    cu_queries: Tensor
    first: Tensor
    tiles: Tensor
    positions: Tensor
    block: int


@dataclass(frozen=True, slots=True)
class RelativeTerms:
    """The position terms of disentangled attention; see `openbei.spec.Disentangled`.

    `rows` is int32 [2 · reach + 1]: the row r of the tables for a key d after the query is `rows[reach + d]`. `c2p` is
    [num_heads, Q, rows], whose [h, i, r] is added to the scores of query i. `p2c` is [num_heads, T, rows], whose
    [h, j, r] is added to the scores of key j. Either may be None. Both have the element type of activations.
    """

    rows: Tensor
    c2p: Tensor | None
    p2c: Tensor | None


@dataclass(frozen=True, slots=True)
class AttentionSwitches:
    """The constants of an attention layer. `window` None does not limit the distance; `softcap` 0 means no softcap."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    scale: float
    is_causal: bool = False
    window: int | None = None
    softcap: float = 0.0


class Ops(Protocol):
    """The operations. Running a batch does not change an implementation's state."""

    query_block: int
    """The number of queries in a tile of attention; see `Queries`."""

    def embed(
        self,
        tables: tuple[Tensor, ...],
        rows: tuple[Tensor, ...],
        *,
        scale: float,
        norm: NormWeights | None,
        dtype: torch.dtype,
    ) -> Tensor:
        """scale · tables[0][rows[0]] + tables[1][rows[1]] + …, then the norm; [T, H] in `dtype`.

        One to three `tables` [n, H] of tokens, positions and types have the element type of activations; `rows` are
        int32 [T] each.
        """
        ...

    def linear(self, x: Rows, weights: LinearWeights, activation: Activation | None = None) -> Tensor:
        """activation(x · weightᵀ + bias), [R, out_features] in the element type of `x`; of activations if quantized."""
        ...

    def norm(
        self,
        x: Tensor,
        norm: NormWeights,
        residual: Tensor | None = None,
        *,
        dtype: torch.dtype,
        quantizes: bool = False,
    ) -> Rows:
        """norm(x + residual), [R, H] in `dtype`, or quantized. `x` and `residual` may be float32 or activations."""
        ...

    def add_norm(
        self, x: Tensor, norm: NormWeights, residual: Tensor, *, dtype: torch.dtype, quantizes: bool = False
    ) -> tuple[Rows, Tensor]:
        """(norm(x + residual), x + residual). The sum has the element type of `residual`."""
        ...

    def quantize(self, x: Tensor) -> Quantized:
        """Rows [R, N] in 8 bits: each row's scale is its largest magnitude / 448."""
        ...

    def rotate_heads(
        self, x: Tensor, positions: Tensor, rotary: RotaryTables | None, norm: NormWeights | None, *, head_dim: int
    ) -> None:
        """Change heads [R, heads · D] in place: the norm of each head, then the rotary embedding of its first columns.

        `positions` is int32 [R]. `x` may be the first columns of packed queries, keys and values.
        """
        ...

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
        """Softmax attention within sequences: q [Q, A], k and v [T, K] -> [Q, A]. `cu_seqlens` is int32 [S + 1].

        Only the first `num_keys` tokens of each sequence, int32 [S], are attended to; None is all. The output is zero
        for a query without keys.

        For query i and key j, d = position of j - position of i: score = (q_i · k_j + c2p + p2c) · scale; if softcap,
        softcap · tanh(score / softcap); then + bias[h, reach + d]. Keys with d > 0 are excluded if causal, and those
        with |d| > window. `bias` is float32 [num_heads, 2 · reach + 1], for ALiBi or buckets. Query head h reads key
        head h // (num_heads / num_kv_heads).
        """
        ...

    def relate(self, x: Tensor, table: Tensor, *, num_heads: int) -> Tensor:
        """x · tableᵀ for each head: x [R, heads · D], table [num_heads, rows, D] -> [num_heads, R, rows].

        With fewer heads in `x` than in `table`, consecutive heads of the table share a head of `x`.
        """
        ...

    def gate(self, x: Tensor, activation: Activation, *, quantizes: bool = False) -> Rows:
        """activation(gate) · up of x [R, 2 · I], whose first half is the gate: [R, I]."""
        ...

    def experts(self, x: Tensor, weights: ExpertWeights, activation: Activation) -> Tensor:
        """A mixture of experts, x [R, H] -> [R, H]; see `openbei.spec.Experts`. Softmax and weights are float32."""
        ...

    def windows(self, x: Tensor, cu_seqlens: Tensor, width: int) -> Tensor:
        """For each token the `width` rows centred at it, zeros outside of its sequence: [T, H] -> [T, width · H]."""
        ...

    def pool(self, x: Tensor, pooling: Pooling, starts: Tensor, ends: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Pool rows `starts[s]` to `ends[s]`, int32 [S], of each sequence: [T, H] -> float32 [S, H].

        `x` is float32 or activations. For weighted_mean, the weight of row r is r - cu_seqlens[s] + 1.
        """
        ...

    def unit_norm(self, x: Tensor, eps: float) -> Tensor:
        """x / max(|x|, eps) of each row, in the element type of `x`."""
        ...

    def term_maxima(self, x: Tensor, weights: LinearWeights, cu_seqlens: Tensor) -> Tensor:
        """log(1 + max(0, largest logit of the sequence)) for each term: x [T, H], weight [V, H] -> float32 [S, V]."""
        ...
