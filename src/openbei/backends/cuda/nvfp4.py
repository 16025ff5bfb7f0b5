"""Rows in 4 bits: e2m1 numbers in blocks of 16, with an e4m3 scale for each block and a float32 scale for each row.

Sources: cuBLAS documentation, "1D Block Scaling Factors Layout"; Open Compute Project, Microscaling Formats (e2m1).
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from openbei.formats.float8 import Float8
from openbei.formats.nvfp4 import BLOCK, LARGEST

NUMBERS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""The numbers of e2m1, by their bits without the sign."""

TILE_ROWS, TILE_BLOCKS = 128, 4
"""Block scales are stored in tiles of this many rows and blocks."""


class Rows4(NamedTuple):
    """Rows [R, K]: `values` uint8 [R, K / 2], scales of blocks as in `tiled`, and `scales` float32 [R, 1].

    The low bits of a byte are the first of its two inputs.
    """

    values: Tensor
    block_scales: Tensor
    scales: Tensor


def tiled(block_scales: Tensor) -> Tensor:
    """Scales e4m3 [R, K / 16] in the order of the matrix units, e4m3 [padded R · padded K / 16].

    A tile has 512 numbers; that of its row r and block b is at 16 · (r mod 32) + 4 · (r div 32) + b. Tiles are in the
    order of rows, then of blocks. The last ones are padded with zeros.
    """
    num_rows, num_blocks = block_scales.shape
    bits = block_scales.view(torch.uint8)
    padding = (0, -num_blocks % TILE_BLOCKS, 0, -num_rows % TILE_ROWS)
    tiles = functional.pad(bits, padding).unflatten(1, (-1, TILE_BLOCKS)).unflatten(0, (-1, 4, 32))
    return tiles.permute(0, 3, 2, 1, 4).flatten().view(torch.float8_e4m3fn)


def untiled(block_scales: Tensor, num_rows: int, num_blocks: int) -> Tensor:
    """The inverse of `tiled`."""
    shape = (-1, -(-num_blocks // TILE_BLOCKS), 32, 4, TILE_BLOCKS)
    tiles = block_scales.view(torch.uint8).view(shape).permute(0, 3, 2, 1, 4)
    return tiles.flatten(3, 4).flatten(0, 2)[:num_rows, :num_blocks].view(torch.float8_e4m3fn)


def quantize(x: Tensor) -> Rows4:
    """Rows [R, K], where K is a multiple of 16. Rounds to nearest, ties to even."""
    blocks = x.float().unflatten(1, (-1, BLOCK))
    scales = x.float().abs().amax(dim=1, keepdim=True) / (LARGEST * Float8.largest)
    largest = blocks.abs().amax(dim=2)
    block_scales = (largest / (scales * LARGEST)).nan_to_num(0.0).to(torch.float8_e4m3fn)
    numbers = (blocks / (block_scales.float() * scales)[:, :, None]).nan_to_num(0.0, 0.0, 0.0).flatten(1)
    codes = _codes(numbers.abs()) | (torch.signbit(numbers).to(torch.uint8) << 3)
    return Rows4(codes[:, ::2] | (codes[:, 1::2] << 4), tiled(block_scales), scales)


def expanded(values: Tensor, block_scales: Tensor) -> Tensor:
    """e2m1 numbers, uint8 [R, K / 2], times the scales of their blocks [R, K / 16]: float32 [R, K]."""
    table = torch.tensor([sign * number for sign in (1, -1) for number in NUMBERS], device=values.device)
    nibbles = torch.stack([values & 15, values >> 4], dim=2).flatten(1)
    return table[nibbles.int()] * block_scales.float().repeat_interleave(BLOCK, dim=1)[:, : nibbles.shape[1]]


def product(x: Rows4, weight: Tensor, block_scales: Tensor) -> Tensor:
    """The product of rows [R, K] and a weight uint8 [N, K / 2], without the scales of either's rows: float32 [R, N].

    In plain torch, on any device, with numbers expanded to float32.
    """
    num_blocks = 2 * weight.shape[1] // BLOCK
    left = expanded(x.values, untiled(x.block_scales, len(x.values), num_blocks))
    return left @ expanded(weight, untiled(block_scales, len(weight), num_blocks)).t()


def _codes(magnitudes: Tensor) -> Tensor:
    """The bits of the nearest e2m1 number. Between two, the one with an even code is chosen."""
    codes = torch.zeros(magnitudes.shape, dtype=torch.uint8, device=magnitudes.device)
    for code, (below, above) in enumerate(pairwise(NUMBERS)):
        middle = (below + above) / 2
        codes += (magnitudes >= middle if code % 2 else magnitudes > middle).to(torch.uint8)
    return codes
