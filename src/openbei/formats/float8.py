"""float8: e4m3 (OCP 8-bit floating point, the variant without infinities), with a float32 scale per output channel."""

import ml_dtypes
import numpy as np

from openbei.formats.format import Floats
from openbei.formats.per_channel import PerChannel, channel_scales

SMALLEST_STEP = 2.0**-9
"""The distance between subnormal numbers of e4m3."""


class Float8(PerChannel):
    """Four significant bits, subnormal numbers below 2^-6."""

    dtype = np.dtype(ml_dtypes.float8_e4m3fn)
    largest = 448.0

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`. Subnormal numbers are included."""
        half_step = channel_scales(numbers, self.largest)[:, None] * np.float32(SMALLEST_STEP / 2)
        bound: Floats = np.maximum(np.abs(numbers) * np.float32(2.0**-4), half_step) * np.float32(1 + 2.0**-16)
        return bound
