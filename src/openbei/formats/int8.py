"""int8: integers from -127 to 127, with a float32 scale for each output channel."""

from collections.abc import Mapping

import numpy as np

from openbei.formats.format import Encoded, Floats, Part
from openbei.formats.per_channel import channel_scales
from openbei.safetensors_file import Shape

LARGEST = 127


class Int8:
    """A weight is its integer times the scale of its row."""

    def values(self, shape: Shape) -> Part:
        """See `Format`."""
        return Part(shape, np.dtype(np.int8))

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """See `Format`."""
        return {"scale": Part(shape[:1], np.dtype(np.float32))}

    def encode(self, numbers: Floats) -> Encoded:
        """See `Format`. Rounds to nearest."""
        scales = channel_scales(numbers, LARGEST)
        return Encoded(np.rint(numbers / scales[:, None]).astype(np.int8), {"scale": scales})

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """See `Format`."""
        decoded: Floats = encoded.values.astype(np.float32) * encoded.scales["scale"][:, None]
        return decoded

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`."""
        half_step = channel_scales(numbers, LARGEST)[:, None] * np.float32(0.5 * (1 + 2**-16))
        return np.broadcast_to(half_step, numbers.shape)
