"""panels: the layout of CPU kernels. Rows form panels of 32, so that a vector load reads one input of 16 or 32 rows."""

from typing import Any

import numpy as np

from openbei.safetensors_file import Array, Shape

PANEL_WIDTH = 32
LANE_BYTES = 4


class Panels:
    """[Np/32, Kp/s, 32, s]: panel p, group j, column c, element h holds W[32p + c, s·j + h].

    N and K are zero-padded to multiples of 32, Np and Kp. s is the number of inputs in 32 bits; they are adjacent, as
    AMX tiles and vdpbf16ps read them. It is 2 for bfloat16. For 32-bit elements it is 1, and the last axis is omitted.
    """

    output_multiple = PANEL_WIDTH

    def packed_shape(self, shape: Shape, dtype: np.dtype[Any]) -> Shape:
        """See `Layout`."""
        rows, columns = (padded(size) for size in shape)
        inputs = LANE_BYTES // dtype.itemsize
        return rows // PANEL_WIDTH, columns // inputs, PANEL_WIDTH, *([inputs] if inputs > 1 else [])

    def pack(self, values: Array) -> Array:
        """See `Layout`."""
        rows, columns = values.shape
        whole = np.pad(values, [(0, padded(rows) - rows), (0, padded(columns) - columns)])
        panels = whole.reshape(-1, PANEL_WIDTH, padded(columns) * values.itemsize // LANE_BYTES, _inputs(values))
        packed = np.ascontiguousarray(panels.transpose(0, 2, 1, 3))
        return packed.reshape(self.packed_shape(values.shape, values.dtype))

    def unpack(self, packed: Array, shape: Shape) -> Array:
        """See `Layout`."""
        rows, columns = shape
        panels = packed.reshape(*packed.shape[:3], _inputs(packed)).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(panels.reshape(padded(rows), padded(columns))[:rows, :columns])

    def has_zero_padding(self, packed: Array, shape: Shape) -> bool:
        """See `Layout`."""
        rows, columns = shape
        inputs = _inputs(packed)
        bits = packed.view(f"u{packed.itemsize}").reshape(*packed.shape[:3], inputs)
        whole, rest = divmod(columns, inputs)
        beyond = [bits[-1, :, rows - PANEL_WIDTH * (len(bits) - 1) :], bits[:, whole + (rest > 0) :]]
        if rest:
            beyond.append(bits[:, whole, :, rest:])
        return not any(part.any() for part in beyond)


def padded(size: int) -> int:
    """The next multiple of 32."""
    return -(-size // PANEL_WIDTH) * PANEL_WIDTH


def _inputs(array: Array) -> int:
    """The number of elements in 32 bits."""
    return LANE_BYTES // array.itemsize
