"""The base of number formats without scales: each number is one element of a numpy type."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from openbei.formats.format import Encoded, Floats, Part
from openbei.safetensors_file import Shape


class Unscaled:
    """A format that is an element type; `relative_error` is the rounding error over the number's magnitude."""

    dtype: ClassVar[np.dtype[Any]]
    relative_error: ClassVar[float]

    def values(self, shape: Shape) -> Part:
        """See `Format`."""
        return Part(shape, self.dtype)

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """See `Format`."""
        return {}

    def encode(self, numbers: Floats, input_magnitudes: Floats | None = None) -> Encoded:
        """See `Format`."""
        return Encoded(numbers.astype(self.dtype, copy=False))

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """See `Format`."""
        return encoded.values.astype(np.float32, copy=False)

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`."""
        return np.abs(numbers) * np.float32(self.relative_error)
