"""nvfp4: e2m1 numbers in blocks of 16 inputs. A block has an e4m3 scale, an output channel a float32 scale.

NVFP4 has one float32 scale for the whole tensor. One for each channel is applied at the same place, after the product,
and uses the range of the block scales better.
"""

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from openbei.formats.float8 import Float8
from openbei.formats.format import Encoded, Floats, Part
from openbei.formats.per_channel import channel_scales
from openbei.safetensors_file import Array, Shape

BLOCK = 16
E2M1 = np.dtype(ml_dtypes.float4_e2m1fn)
LARGEST = 6.0


class Nvfp4:
    """A weight is its e2m1 number times the scales of its block and of its row.

    A byte holds two adjacent inputs, the first in its low bits.
    """

    def values(self, shape: Shape) -> Part:
        """See `Format`."""
        return Part((shape[0], -(-shape[1] // 2)), np.dtype(np.uint8))

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """See `Format`."""
        blocks = Part((-(-shape[1] // BLOCK), shape[0]), Float8.dtype)
        return {"scale": Part(shape[:1], np.dtype(np.float32)), "block_scale": blocks}

    def encode(self, numbers: Floats, input_magnitudes: Floats | None = None) -> Encoded:
        """See `Format`. Rounds to nearest, ties to even."""
        scales = channel_scales(numbers, LARGEST * Float8.largest)
        blocks = _blocks(numbers / scales[:, None])
        block_scales = (np.abs(blocks).max(axis=2) / np.float32(LARGEST)).astype(Float8.dtype)
        divisors = block_scales.astype(np.float32)[:, :, None]
        codes = np.clip(np.divide(blocks, divisors, where=divisors > 0, out=np.zeros_like(blocks)), -LARGEST, LARGEST)
        nibbles = codes.astype(E2M1).view(np.uint8).reshape(len(numbers), -1)[:, : numbers.shape[1] + 1 & ~1]
        packed = nibbles[:, ::2] | nibbles[:, 1::2] << 4
        return Encoded(packed, {"scale": scales, "block_scale": np.ascontiguousarray(block_scales.T)})

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """See `Format`."""
        nibbles = np.stack([encoded.values & 15, encoded.values >> 4], axis=2).reshape(shape[0], -1)[:, : shape[1]]
        blocks = np.repeat(encoded.scales["block_scale"].astype(np.float32).T, BLOCK, axis=1)[:, : shape[1]]
        decoded: Floats = nibbles.view(E2M1).astype(np.float32) * blocks * encoded.scales["scale"][:, None]
        return decoded

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`: half the largest step of e2m1, and the rounding of the block's scale."""
        scales = channel_scales(numbers, LARGEST * Float8.largest)[:, None]
        largest = np.repeat(np.abs(_blocks(numbers)).max(axis=2), BLOCK, axis=1)[:, : numbers.shape[1]]
        bound: Floats = (largest / np.float32(LARGEST) + scales * np.float32(2.0**-7)) * np.float32(1.5)
        return bound


def _blocks(numbers: Floats) -> Array:
    """[N, K] as [N, blocks, 16], padded with zeros."""
    return np.pad(numbers, [(0, 0), (0, -numbers.shape[1] % BLOCK)]).reshape(len(numbers), -1, BLOCK)
