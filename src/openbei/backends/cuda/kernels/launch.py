"""Launches of kernels, all with the same compiler options."""

from triton.runtime.jit import KernelInterface


def launch(
    kernel: KernelInterface, num_programs: tuple[int, ...], *arguments: object, num_warps: int, **options: object
) -> None:
    """Launch a kernel with `num_programs` on each axis of its grid, on the current stream.

    `options` are its constants, and num_stages. Fused multiply-add is on, whatever the default of the Triton version.
    """
    if min(num_programs) > 0:  # an empty grid is an error of the driver
        kernel[num_programs](*arguments, num_warps=num_warps, enable_fp_fusion=True, **options)
