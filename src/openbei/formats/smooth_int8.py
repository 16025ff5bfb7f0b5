"""smooth_int8: integers from -127 to 127 that are multiplied by 8-bit inputs (W8A8).

A linear layer whose weight has this format also quantizes its inputs. There is a float32 scale for each output and
group of 128 inputs, and one for each row of inputs and group. `smoothing` is that of SmoothQuant (arXiv:2211.10438): a
factor for each input. Before both are quantized, inputs are multiplied by it and weights are divided by it.
"""

from collections.abc import Mapping

import numpy as np

from openbei.formats.format import Encoded, Floats, Part
from openbei.safetensors_file import Array, Shape

GROUP = 128
LARGEST = np.float32(127)

NEGLIGIBLE = np.float32(1e-30)
"""A group of inputs with no magnitude above this is zero: the reciprocals of smaller scales overflow."""

FLOOR = np.float32(0.01)
"""The smallest magnitude that smoothing assumes, relative to the largest one."""


class SmoothInt8:
    """A weight is its integer times the scale of its output and group, times the smoothing of its input."""

    def values(self, shape: Shape) -> Part:
        """See `Format`."""
        return Part(shape, np.dtype(np.int8))

    def scales(self, shape: Shape) -> Mapping[str, Part]:
        """See `Format`."""
        groups = -(-shape[1] // GROUP)
        float32 = np.dtype(np.float32)
        return {"scale": Part((groups, shape[0]), float32), "smoothing": Part(shape[1:], float32)}

    def encode(self, numbers: Floats, input_magnitudes: Floats | None = None) -> Encoded:
        """See `Format`. Rounds to nearest, ties to even."""
        smoothing = _smoothing(numbers, input_magnitudes)
        groups = _groups(numbers / smoothing)
        largest = np.abs(groups).max(axis=2)
        scales = np.where(largest == 0, np.float32(1), largest / LARGEST)
        integers = np.rint(groups / scales[:, :, None]).astype(np.int8).reshape(len(numbers), -1)
        values = np.ascontiguousarray(integers[:, : numbers.shape[1]])
        return Encoded(values, {"scale": np.ascontiguousarray(scales.T), "smoothing": smoothing})

    def decode(self, encoded: Encoded, shape: Shape) -> Floats:
        """See `Format`."""
        scales, smoothing = encoded.scales["scale"].T, encoded.scales["smoothing"]
        by_input = np.repeat(scales, GROUP, axis=1)[:, : shape[1]]
        decoded: Floats = (encoded.values * by_input * smoothing).astype(np.float32, copy=False)
        return decoded

    def error_bound(self, numbers: Floats) -> Floats:
        """See `Format`, without smoothing."""
        largest: Floats = np.repeat(np.abs(_groups(numbers)).max(axis=2), GROUP, axis=1)[:, : numbers.shape[1]]
        bound: Floats = largest / LARGEST * np.float32(0.5 * (1 + 2**-16))
        return bound


def quantized_inputs(x: Floats, smoothing: Floats) -> Floats:
    """Inputs [rows, K] with the errors of quantization: smoothed, quantized, and converted back."""
    groups = _groups(x * smoothing)
    largest = np.abs(groups).max(axis=2, keepdims=True)
    reciprocals = np.where(largest > NEGLIGIBLE, LARGEST / np.maximum(largest, NEGLIGIBLE), np.float32(0))
    rounded = np.rint(groups * reciprocals) * (largest / LARGEST)
    quantized: Floats = rounded.reshape(len(x), groups.shape[1] * GROUP)[:, : x.shape[1]] / smoothing
    return quantized


def _smoothing(numbers: Floats, input_magnitudes: Floats | None) -> Floats:
    """The smoothing factors of a weight [N, K], float32 [K]; all 1 if the magnitudes of the inputs are not known.

    They give an input and its weights the same magnitude, the geometric mean of both.
    """
    if input_magnitudes is None:
        return np.ones(numbers.shape[1], np.float32)
    ratios = _raised(np.abs(numbers).max(axis=0)) / _raised(input_magnitudes)
    smoothing: Floats = np.sqrt(ratios).astype(np.float32, copy=False)
    return smoothing


def _raised(magnitudes: Floats) -> Floats:
    """Magnitudes of at least `FLOOR` times the largest: an input that calibration hardly used may be used later."""
    raised: Floats = np.maximum(magnitudes, np.maximum(FLOOR * magnitudes.max(), NEGLIGIBLE))
    return raised


def _groups(numbers: Floats) -> Array:
    """[N, K] as [N, groups, 128], padded with zeros."""
    groups = -(-numbers.shape[1] // GROUP)
    padding = groups * GROUP - numbers.shape[1]
    return np.pad(numbers, [(0, 0), (0, padding)]).reshape(len(numbers), groups, GROUP)
