"""What every scheme offers, and the padding that all of them share. No scheme lives here.

A linear weight W is [N out_features, K in_features]. Packed, both are zero-padded to multiples of 32 (Np, Kp), and
the rows lie in panels of 32, so that one vector load reads one column of 16 or 32 outputs.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Array = NDArray[Any]

TILE = 32


class Scheme(Protocol):
    """Both sides of one way to store weights."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of packed weights and of embedding tables."""
        ...

    @property
    def relative_error(self) -> float:
        """Bound on |unpack(pack(w)) - w| / |w| for each normal number."""
        ...

    def packed_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """Shape of the packed array of a weight [N, K]."""
        ...

    def pack(self, weight: Floats) -> Array:
        """Pack a float32 weight [N, K], C-contiguous."""
        ...

    def unpack(self, packed: Array, shape: tuple[int, int]) -> Floats:
        """The float32 weight [N, K] that a packed array stands for; `shape` is (N, K)."""
        ...

    def cast(self, table: Floats) -> Array:
        """An embedding table [rows, H] in the scheme's element type, layout unchanged."""
        ...


def padded(size: int) -> int:
    """The next multiple of 32."""
    return -(-size // TILE) * TILE


def pad(array: Array) -> Array:
    """Zero-pad every axis to a multiple of 32."""
    return np.pad(array, [(0, padded(size) - size) for size in array.shape])
