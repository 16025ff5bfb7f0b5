"""What every number format offers. No format lives here."""

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

    The last axis of scales is the tensor's first, its outputs: float32 [N] has a scale for each row of a weight [N, K],
    [K / 128, N] one for each row and group of 128 inputs.
    """

    values: Array
    scales: Mapping[str, Array] = MappingProxyType({})


class Format(Protocol):
    """Both directions of one way to store numbers, of weights [N, K], embedding tables [rows, H] and vectors [N]."""

    def values(self, shape: Shape) -> Part:
        """The values of a tensor of that shape, with as many axes; several may share an element of the last one."""
        ...

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """Its scales by name, none for a format without scales."""
        ...

    def encode(self, numbers: Floats) -> Encoded:
        """Encode a tensor, float32 and C-contiguous."""
        ...

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """The tensor of that shape in float32."""
        ...

    def error_bound(self, numbers: Floats) -> Floats:
        """Bound on |decode(encode(x)) - x| for each number, as long as none overflows or is subnormal."""
        ...
