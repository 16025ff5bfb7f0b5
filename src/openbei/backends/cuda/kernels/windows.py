"""Windows of neighbouring rows, for DeBERTa's convolution, and the sequence that each row belongs to.

A kernel program copies one row, or zeros. [T, H] -> [T, width · H] in 16 bits: 4·T·width·H bytes.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.kernels.quantize import row_block


def sequences_of(cu_seqlens: Tensor, num_rows: int) -> Tensor:
    """The sequence of each row, int32 [num_rows]; the number of sequences for rows after the last sequence."""
    rows = torch.arange(num_rows, dtype=torch.int32, device=cu_seqlens.device)
    return torch.searchsorted(cu_seqlens, rows, right=True, out_int32=True) - 1


def windows(x: Tensor, cu_seqlens: Tensor, width: int) -> Tensor:
    """For each row the `width` rows centred at it, zeros outside of its sequence; see `Ops.windows`."""
    num_rows, num_columns = x.shape
    out = torch.empty(num_rows, width * num_columns, dtype=x.dtype, device=x.device)
    block, num_warps = row_block(num_columns)
    launch(
        _windows_kernel,
        (num_rows, width),
        *(out, x, sequences_of(cu_seqlens, num_rows), num_rows, num_columns, x.stride(0)),
        WIDTH=width,
        BLOCK=block,
        num_warps=num_warps,
    )
    return out


@triton.jit(do_not_specialize=["num_rows"])
def _windows_kernel(
    out: tl.tensor,
    x: tl.tensor,
    sequences: tl.tensor,
    num_rows: tl.tensor,
    num_columns: tl.tensor,
    x_stride: tl.tensor,
    WIDTH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row, place = tl.program_id(0).to(tl.int64), tl.program_id(1)
    source = row + place - WIDTH // 2
    source = tl.where((source >= 0) & (source < num_rows), source, row)
    is_own = (tl.load(sequences + source) == tl.load(sequences + row)) & (source - row == place - WIDTH // 2)
    columns = tl.arange(0, BLOCK)
    copied = tl.load(x + source * x_stride + columns, mask=columns < tl.where(is_own, num_columns, 0), other=0.0)
    tl.store(out + (row * WIDTH + place) * num_columns + columns, copied, mask=columns < num_columns)
