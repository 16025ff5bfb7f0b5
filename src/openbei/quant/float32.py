"""float32: exact, panels of 32 outputs."""

import numpy as np

from openbei.quant.scheme import TILE, Array, Floats, pad, padded


class Float32:
    """[Np/32, Kp, 32]: panel p, row k, column c holds W[32p + c, k]."""

    dtype = np.dtype(np.float32)
    relative_error = 0.0

    def packed_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """See `Scheme`."""
        rows, columns = shape
        return padded(rows) // TILE, padded(columns), TILE

    def pack(self, weight: Floats) -> Array:
        """See `Scheme`."""
        panels = pad(weight).reshape(padded(weight.shape[0]) // TILE, TILE, -1)
        return np.ascontiguousarray(panels.transpose(0, 2, 1))

    def unpack(self, packed: Array, shape: tuple[int, int]) -> Floats:
        """See `Scheme`."""
        weight = packed.transpose(0, 2, 1).reshape(padded(shape[0]), padded(shape[1]))
        return np.ascontiguousarray(weight[: shape[0], : shape[1]])

    def cast(self, table: Floats) -> Array:
        """See `Scheme`."""
        return table
