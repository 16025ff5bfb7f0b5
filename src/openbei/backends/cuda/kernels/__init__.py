"""Triton kernels of the CUDA backend. One file per concept; each has its kernels and the functions that launch them.

The launching functions have torch tensors as arguments and results, as `openbei.backends.cuda.ops` describes. Block
sizes and numbers of warps are chosen by tables and shapes, never by timing at run time, so a start is fast and results
do not depend on timing. Kernels are not specialized for numbers that differ from batch to batch, so no batch compiles a
kernel again. Importing this package requires triton, but no GPU.
"""
