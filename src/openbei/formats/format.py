"""The interface of number formats. Their implementations have one file each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from openbei.safetensors_file import Array, Shape

Floats = NDArray[np.float32]


class Part(NamedTuple):
    """Shape and element type of one array."""

    shape: Shape
    dtype: np.dtype[Any]


class Encoded(NamedTuple):
    """A tensor in a number format: its values, and its scales by name.

    For a weight [N, K], scales float32 [N] are one for each output, [K / 128, N] one for each output and group of 128
    inputs, and [K] one for each input.
    """

    values: Array
    scales: Mapping[str, Array] = MappingProxyType({})


class Format(Protocol):
    """Encoding and decoding of weights [N, K], embedding tables [rows, H] and vectors [N]."""

    def values(self, shape: Shape) -> Part:
        """Shape and element type of the encoded values. They have as many axes; an element may hold several values."""
        ...

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """Shape and element type of the scales by name; empty for a format without scales."""
        ...

    def encode(self, numbers: Floats, input_magnitudes: Floats | None = None) -> Encoded:
        """Encode a tensor, float32 and C-contiguous.

        `input_magnitudes` float32 [K] are the largest magnitudes of a weight's inputs, for formats that depend on them.
        """
        ...

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """Decode a tensor of a shape to float32."""
        ...

    def error_bound(self, numbers: Floats) -> Floats:
        """Upper bound of |decode(encode(x)) - x| for each number, if none overflows or is subnormal."""
        ...
