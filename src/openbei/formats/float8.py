"""float8: e4m3 (OCP 8-bit floating point, the variant without infinities), with a float32 scale per output channel."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from openbei.formats.format import Encoded, Floats, Part
from openbei.formats.per_channel import channel_scales
from openbei.safetensors_file import Shape

E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
LARGEST = 448.0
SMALLEST_STEP = 2.0**-9
"""The distance between subnormal numbers of e4m3."""


class Float8:
    """A weight is its e4m3 number times the scale of its row."""

    def values(self, shape: Shape) -> Part:
        """See `Format`."""
        return Part(shape, E4M3)

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """See `Format`."""
        return {"scale": Part(shape[:1], np.dtype(np.float32))}

    def encode(self, numbers: Floats) -> Encoded:
        """See `Format`. Rounds to nearest, ties to even."""
        scales = channel_scales(numbers, LARGEST)
        return Encoded((numbers / scales[:, None]).astype(E4M3), {"scale": scales})

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """See `Format`."""
        decoded: Floats = encoded.values.astype(np.float32) * encoded.scales["scale"][:, None]
        return decoded

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`. Subnormal numbers are included."""
        half_step = channel_scales(numbers, LARGEST)[:, None] * np.float32(SMALLEST_STEP / 2)
        bound: Floats = np.maximum(np.abs(numbers) * np.float32(2.0**-4), half_step) * np.float32(1 + 2.0**-16)
        return bound
