"""bfloat16: two rows of k interleaved, the order that AMX tiles and vdpbf16ps both read."""

import ml_dtypes
import numpy as np

from openbei.quant.scheme import TILE, Array, Floats, pad, padded


class Bfloat16:
    """[Np/32, Kp/2, 32, 2]: panel p, pair j, column c, half h holds W[32p + c, 2j + h], rounded to even."""

    dtype = np.dtype(ml_dtypes.bfloat16)
    relative_error = 2.0**-8

    def packed_shape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """See `Scheme`."""
        rows, columns = shape
        return padded(rows) // TILE, padded(columns) // 2, TILE, 2

    def pack(self, weight: Floats) -> Array:
        """See `Scheme`."""
        panels = pad(self.cast(weight)).reshape(padded(weight.shape[0]) // TILE, TILE, -1, 2)
        return np.ascontiguousarray(panels.transpose(0, 2, 1, 3))

    def unpack(self, packed: Array, shape: tuple[int, int]) -> Floats:
        """See `Scheme`."""
        weight = packed.transpose(0, 2, 1, 3).reshape(padded(shape[0]), padded(shape[1]))
        return weight[: shape[0], : shape[1]].astype(np.float32)

    def cast(self, table: Floats) -> Array:
        """See `Scheme`."""
        return table.astype(self.dtype)
