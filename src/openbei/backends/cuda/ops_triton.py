"""The operations with Triton kernels, except plain matrix products, which cuBLAS computes. Needs a GPU.

Nothing waits for the device, so that CUDA graphs can capture all of them.
"""

import sys

import torch
from torch import Tensor

from openbei.accelerators import OLDEST
from openbei.backends.cuda.kernels import attention as attention_kernels
from openbei.backends.cuda.kernels import experts as expert_kernels
from openbei.backends.cuda.kernels import gate as gate_kernels
from openbei.backends.cuda.kernels import gemm as gemm_kernels
from openbei.backends.cuda.kernels import norm as norm_kernels
from openbei.backends.cuda.kernels import pool as pool_kernels
from openbei.backends.cuda.kernels import quantize as quantize_kernels
from openbei.backends.cuda.kernels import quantize4
from openbei.backends.cuda.kernels import rope as rope_kernels
from openbei.backends.cuda.kernels import terms as terms_kernels
from openbei.backends.cuda.kernels import windows as window_kernels
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
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.gpus import Capability
from openbei.spec import Activation, Pooling

MAX_FUSED_DEPTH = 1024
"""The most input columns for which a linear layer and its activation are one kernel. Wider products gain too little."""

FASTER_APART = Capability(9, 0)
"""From this compute capability on, cuBLAS and a separate activation are faster for more than MAX_FUSED_ROWS rows.

With 16384 rows on an H200 they take 17 to 20 % less time: memory is fast, and cuBLAS uses instructions that our kernel
does not.
"""

MAX_FUSED_ROWS = 1024


class TritonOps(TorchOps):
    """See `openbei.backends.cuda.ops.Ops`; `dtype` is the element type of activations, float16 or bfloat16.

    `capability` is the compute capability of the GPU.
    """

    def __init__(self, dtype: torch.dtype, capability: Capability = OLDEST) -> None:
        super().__init__(dtype)
        self._max_fused_rows = MAX_FUSED_ROWS if capability >= FASTER_APART else sys.maxsize

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
        return norm_kernels.embed(tables, rows, scale=scale, norm=norm, dtype=dtype)

    def linear(self, x: Rows, weights: LinearWeights, activation: Activation | None = None) -> Tensor:
        """See `Ops`."""
        if activation and isinstance(x, Tensor) and len(x) <= self._max_fused_rows and _can_fuse(x, weights):
            return gemm_kernels.linear(x, weights, activation)
        y = super().linear(x, weights)
        return gate_kernels.gate(y, activation, is_gated=False) if activation else y

    def block_scaled(self, x: Tensor, weights: LinearWeights) -> Tensor:
        """See `TorchOps`. The matrix units of Blackwell GPUs multiply the 4-bit numbers."""
        return quantize4.linear(x, weights)

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
        return norm_kernels.norm(x, norm, residual, dtype=dtype, quantizes=quantizes)

    def add_norm(
        self, x: Tensor, norm: NormWeights, residual: Tensor, *, dtype: torch.dtype, quantizes: bool = False
    ) -> tuple[Rows, Tensor]:
        """See `Ops`."""
        return norm_kernels.add_norm(x, norm, residual, dtype=dtype, quantizes=quantizes)

    def quantize(self, x: Tensor) -> Quantized:
        """See `Ops`."""
        return quantize_kernels.quantize(x)

    def rotate_heads(
        self, x: Tensor, positions: Tensor, rotary: RotaryTables | None, norm: NormWeights | None, *, head_dim: int
    ) -> None:
        """See `Ops`."""
        rope_kernels.rotate_heads(x, positions, rotary, norm, head_dim=head_dim)

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
        """See `Ops`."""
        return attention_kernels.attend(
            q, k, v, cu_seqlens, queries, switches, num_keys=num_keys, bias=bias, relative=relative
        )

    def gate(self, x: Tensor, activation: Activation, *, quantizes: bool = False) -> Rows:
        """See `Ops`."""
        return gate_kernels.gate(x, activation, quantizes=quantizes)

    def experts(self, x: Tensor, weights: ExpertWeights, activation: Activation) -> Tensor:
        """See `Ops`."""
        return expert_kernels.experts(x, weights, activation)

    def windows(self, x: Tensor, cu_seqlens: Tensor, width: int) -> Tensor:
        """See `Ops`."""
        return window_kernels.windows(x, cu_seqlens, width)

    def pool(self, x: Tensor, pooling: Pooling, starts: Tensor, ends: Tensor, cu_seqlens: Tensor) -> Tensor:
        """See `Ops`."""
        return pool_kernels.pool(x, pooling, starts, ends, cu_seqlens)

    def term_maxima(self, x: Tensor, weights: LinearWeights, cu_seqlens: Tensor) -> Tensor:
        """See `Ops`."""
        return terms_kernels.term_maxima(x, weights, cu_seqlens)


def _can_fuse(x: Tensor, weights: LinearWeights) -> bool:
    """Whether a kernel supports a linear layer and its activation: 16-bit numbers, and not too many columns."""
    return x.dtype != torch.float32 and weights.block_scales is None and x.shape[1] <= MAX_FUSED_DEPTH
