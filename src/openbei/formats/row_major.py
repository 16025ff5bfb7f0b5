"""row_major: row after row, without padding, like the weights of checkpoints and GPUs."""

from typing import Any

import numpy as np

from openbei.safetensors_file import Array, Shape


class RowMajor:
    """Weights [N, K] in C order."""

    output_multiple = 1

    def packed_shape(self, shape: Shape, dtype: np.dtype[Any]) -> Shape:
        """See `Layout`."""
        return shape

    def pack(self, values: Array) -> Array:
        """See `Layout`."""
        return np.ascontiguousarray(values)

    def unpack(self, packed: Array, shape: Shape) -> Array:
        """See `Layout`."""
        return packed

    def has_zero_padding(self, packed: Array, shape: Shape) -> bool:
        """See `Layout`."""
        return True
