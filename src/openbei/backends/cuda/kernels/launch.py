"""Launches of kernels, all with the same compiler options."""

from torch import Tensor
from triton.runtime.jit import KernelInterface


def launch(
    kernel: KernelInterface,
    num_programs: tuple[int, ...],
    out: Tensor,
    *arguments: object,
    num_warps: int,
    **options: object,
) -> None:
    """Launch a kernel with `num_programs` on each axis of its grid, on the current stream.

    `options` are its constants, and num_stages. Fused multiply-add is on, whatever the default of the Triton version.
    If `out`, the first argument, is a meta tensor, the kernel is compiled but not launched.
    """
    options |= {"num_warps": num_warps, "enable_fp_fusion": True}
    if out.is_meta:
        kernel.warmup(out, *arguments, grid=num_programs, **options)
    elif min(num_programs) > 0:  # an empty grid is an error of the driver
        kernel[num_programs](out, *arguments, **options)
