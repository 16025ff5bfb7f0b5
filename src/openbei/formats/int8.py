"""int8: integers from -127 to 127, with a float32 scale for each output channel."""

import numpy as np

from openbei.formats.format import Floats
from openbei.formats.per_channel import PerChannel, channel_scales
from openbei.safetensors_file import Array


class Int8(PerChannel):
    """Evenly spaced numbers."""

    dtype = np.dtype(np.int8)
    largest = 127.0

    def round(self, scaled: Floats) -> Array:
        """See `PerChannel`."""
        return np.rint(scaled).astype(self.dtype)

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`."""
        half_step = channel_scales(numbers, self.largest)[:, None] * np.float32(0.5 * (1 + 2**-16))
        return np.broadcast_to(half_step, numbers.shape)
