"""Activations of the MLP, with or without a gate: activation(gate) · up, or activation(x).

A kernel program handles a block of columns of one row, or the whole row if it quantizes it. Bytes for outputs [R, I]
in 16 bits: 6·R·I with a gate, 4·R·I without, and R·I less for outputs in e4m3; 10 to 30 operations each, so memory is
the limit.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from openbei.backends.cuda.kernels.activation import activate
from openbei.backends.cuda.kernels.launch import launch
from openbei.backends.cuda.kernels.quantize import empty_rows, row_block, store_row
from openbei.backends.cuda.ops import Rows
from openbei.spec import Activation

_BLOCK = 1024


def gate(x: Tensor, activation: Activation, *, is_gated: bool = True, quantizes: bool = False) -> Rows:
    """activation(gate) · up of x [R, 2 · I], whose first half is the gate, or activation(x) of [R, I]: [R, I]."""
    num_rows, width = x.shape[0], x.shape[1] // (2 if is_gated else 1)
    block, num_warps = row_block(width if quantizes else min(width, _BLOCK))
    if quantizes:
        out: Rows = empty_rows(x, num_rows, width)
    else:
        out = torch.empty(num_rows, width, dtype=x.dtype, device=x.device)
    launch(
        _gate_kernel,
        (num_rows, triton.cdiv(width, block)),
        *(out if isinstance(out, tuple) else (out, None)),
        x,
        x.stride(0),
        width,
        ACTIVATION=activation,
        IS_GATED=is_gated,
        BLOCK=block,
        num_warps=num_warps,
    )
    return out


@triton.jit
def _gate_kernel(
    out: tl.tensor,
    scales: tl.tensor,
    x: tl.tensor,
    x_stride: tl.tensor,
    width: tl.tensor,
    ACTIVATION: tl.constexpr,
    IS_GATED: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    x += row * x_stride
    y = activate(tl.load(x + columns, mask=columns < width, other=0.0).to(tl.float32), ACTIVATION)
    if IS_GATED:
        y *= tl.load(x + width + columns, mask=columns < width, other=0.0).to(tl.float32)
    if scales is not None:  # sigmoid(0) is not 0
        store_row(out, scales, row, tl.where(columns < width, y, 0.0), columns, width)
    else:
        tl.store(out + row * width + columns, y.to(out.dtype.element_ty), mask=columns < width)
