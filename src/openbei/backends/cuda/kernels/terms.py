"""SPLADE term weights: log(1 + max(0, largest logit of the sequence)) for each term, fused with the last linear layer.

A kernel program computes the logits of one tile, then, for each sequence in it, the maxima of its rows, and combines
those above 0 with the result by atomic maxima. Bits of non-negative float32 numbers are ordered as integers, and maxima
do not depend on the order. No array of tokens × vocabulary is needed.

[T, H] · [V, H]ᵀ: 2·T·V·H operations; bytes: 2·(T·H + V·H) in 16 bits, and 4·S·V for the result, instead of 4·T·V more.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.gemm import blocks_for, product, tile_options, tile_places
from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.kernels.windows import sequences_of
from openbei.backends.cuda.ops import LinearWeights


def term_maxima(x: Tensor, weights: LinearWeights, cu_seqlens: Tensor) -> Tensor:
    """Term weights float32 [S, V] of rows x [T, H]; see `Ops.term_maxima`. Empty sequences have none."""
    num_sequences, (num_terms, depth) = len(cu_seqlens) - 1, weights.weight.shape
    maxima = torch.zeros(num_sequences, num_terms, dtype=torch.float32, device=x.device)
    blocks = blocks_for(len(x))
    launch(
        _terms_kernel,
        (triton.cdiv(len(x), blocks.rows) * triton.cdiv(num_terms, blocks.columns),),
        *(maxima.view(torch.int32), x, weights.weight, weights.bias, sequences_of(cu_seqlens, len(x))),
        *(len(x), num_terms, depth, num_sequences, x.stride(0)),
        **tile_options(blocks, depth),
    )
    return maxima


@triton.jit(do_not_specialize=["num_rows", "num_sequences"])
def _terms_kernel(
    maxima: tl.tensor,
    x: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    sequences: tl.tensor,
    num_rows: tl.tensor,
    num_terms: tl.tensor,
    depth: tl.tensor,
    num_sequences: tl.tensor,
    x_stride: tl.tensor,
    IS_EVEN: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_DEPTH: tl.constexpr,
) -> None:
    rows, terms = tile_places(tl.program_id(0), num_rows, num_terms, GROUP, BLOCK_ROWS, BLOCK_COLUMNS)
    logits = product(x, weight, rows, terms, num_rows, num_terms, depth, x_stride, IS_EVEN, BLOCK_DEPTH)
    if bias is not None:
        logits += tl.load(bias + terms, mask=terms < num_terms, other=0.0).to(tl.float32)[None, :]
    own = tl.load(sequences + rows, mask=rows < num_rows, other=num_sequences)  # num_sequences marks padding
    last = min(tl.max(own), num_sequences - 1)
    for sequence in tl.range(tl.min(own), last + 1):
        largest = tl.max(tl.where((own == sequence)[:, None], logits, 0.0), axis=0)
        pointers = maxima + tl.cast(sequence, tl.int64) * num_terms + terms
        bits = tl.log(1 + largest).to(tl.int32, bitcast=True)
        tl.atomic_max(pointers, bits, mask=(terms < num_terms) & (largest > 0), sem="relaxed")
