"""What every layout offers. No layout lives here."""

from typing import Any, Protocol

import numpy as np

from openbei.safetensors_file import Array, Shape


class Layout(Protocol):
    """In which order the values of a weight [N, K] lie in memory, whatever their number format."""

    @property
    def output_multiple(self) -> int:
        """What the number of outputs is padded to a multiple of, in weights, and in biases and scales beside them."""
        ...

    def packed_shape(self, shape: Shape, dtype: np.dtype[Any]) -> Shape:
        """Shape of the packed array of values [N, K] of an element type."""
        ...

    def pack(self, values: Array) -> Array:
        """Lay out values [N, K]; padding is zero, the result C-contiguous."""
        ...

    def unpack(self, packed: Array, shape: Shape) -> Array:
        """The values [N, K] of a packed array; `shape` is (N, K)."""
        ...

    def has_zero_padding(self, packed: Array, shape: Shape) -> bool:
        """Whether what lies beyond (N, K) in a packed array is zero."""
        ...
