"""Triton kernels of the CUDA backend. One file per concept; each has its kernels and the functions that launch them.

Launching functions take and return torch tensors as `openbei.backends.cuda.ops` describes them. Block sizes and numbers
of warps are chosen by tables and shapes, never by timing at run time: a start is fast, and results do not depend on it.
Numbers that differ from batch to batch are not specialized, so that no batch compiles a kernel again. Importing this
package requires triton, but no GPU.
"""
