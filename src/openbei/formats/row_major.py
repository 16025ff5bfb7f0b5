"""row_major: one row after the other, without padding, as checkpoints and GPUs have weights."""

from typing import Any

import numpy as np

from openbei.safetensors_file import Array, Shape


class RowMajor:
    """[N, K]."""

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
