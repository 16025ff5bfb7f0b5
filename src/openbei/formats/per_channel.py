"""The base of formats whose only scale is a float32 number for each output channel."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from openbei.formats.format import Encoded, Floats, Part
from openbei.safetensors_file import Array, Shape


class PerChannel:
    """A weight is one element of `dtype` times the scale of its row; `largest` is the largest magnitude in use."""

    dtype: ClassVar[np.dtype[Any]]
    largest: ClassVar[float]

    def values(self, shape: Shape) -> Part:
        """See `Format`."""
        return Part(shape, self.dtype)

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """See `Format`."""
        return {"scale": Part(shape[:1], np.dtype(np.float32))}

    def encode(self, numbers: Floats, input_magnitudes: Floats | None = None) -> Encoded:
        """See `Format`. Rounds to nearest, ties to even."""
        scales = channel_scales(numbers, self.largest)
        return Encoded(self.round(numbers / scales[:, None]), {"scale": scales})

    def round(self, scaled: Floats) -> Array:
        """Numbers of at most `largest`, rounded to `dtype`. Conversion rounds to nearest, except to integers."""
        return scaled.astype(self.dtype)

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """See `Format`."""
        decoded: Floats = encoded.values.astype(np.float32) * encoded.scales["scale"][:, None]
        return decoded


def channel_scales(numbers: Floats, largest: float) -> Floats:
    """Scales [N] of a weight [N, K] that map the largest magnitude of each row to `largest`; 1 for a row of zeros."""
    magnitudes = np.abs(numbers).max(axis=1)
    return np.where(magnitudes == 0, np.float32(1), magnitudes / np.float32(largest)).astype(np.float32)
