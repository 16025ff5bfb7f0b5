"""The interface of layouts. Their implementations have one file each."""

from typing import Any, Protocol

import numpy as np

from openbei.safetensors_file import Array, Shape


class Layout(Protocol):
    """The order of the values of a weight [N, K] in memory, for any number format."""

    @property
    def output_multiple(self) -> int:
        """The number of outputs is padded to a multiple of this, in weights, biases and scales."""
        ...

    def packed_shape(self, shape: Shape, dtype: np.dtype[Any]) -> Shape:
        """Shape of the packed array of values [N, K] of an element type."""
        ...

    def pack(self, values: Array) -> Array:
        """Pack values [N, K] into a C-contiguous array with zero padding."""
        ...

    def unpack(self, packed: Array, shape: Shape) -> Array:
        """The values [N, K] of a packed array; `shape` is (N, K)."""
        ...

    def has_zero_padding(self, packed: Array, shape: Shape) -> bool:
        """Whether the padding of a packed array is zero; `shape` is (N, K)."""
        ...
