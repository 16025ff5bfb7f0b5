"""Storage of a tensor: its number format, its layout, and the resulting arrays in the file."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
import numpy as np

from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.format import Encoded, Floats, Part
from openbei.safetensors_file import Array, Shape

T = TypeVar("T")


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Number format and layout of a tensor, by the names of `FORMATS` and `LAYOUTS`.

    Values are stored under the tensor's name, scales under `{name}.{scale}`. Vectors, and the last axis of scales, are
    padded like the outputs of the layout.
    """

    format: str
    layout: str

    def parts(self, name: str, shape: Shape) -> dict[str, Part]:
        """Shape and element type of each array of a tensor, by its name in the file."""
        format = FORMATS[self.format]
        values, scales = format.values(shape), _named(name, format.scales(shape))
        stored = Part(self._stored_shape(values), values.dtype)
        return {name: stored} | {one: Part(self._padded_shape(part.shape), part.dtype) for one, part in scales.items()}

    def store(self, name: str, numbers: Floats, input_magnitudes: Floats | None = None) -> dict[str, Array]:
        """The arrays of a tensor, by their names in the file. The arguments are those of `Format.encode`."""
        values, scales = FORMATS[self.format].encode(numbers, input_magnitudes)
        stored = LAYOUTS[self.layout].pack(values) if values.ndim == 2 else self._padded(values)
        return {name: stored} | {one: self._padded(array) for one, array in _named(name, scales).items()}

    def load(self, name: str, arrays: Mapping[str, Array], shape: Shape) -> Floats:
        """Decode a tensor of a shape to float32 from the arrays of a file."""
        format = FORMATS[self.format]
        values = format.values(shape).shape
        is_weight = len(values) == 2
        unpacked = LAYOUTS[self.layout].unpack(arrays[name], values) if is_weight else arrays[name][: shape[0]]
        scales = {
            scale: arrays[f"{name}.{scale}"][..., : part.shape[-1]] for scale, part in format.scales(shape).items()
        }
        return format.decode(Encoded(unpacked, scales), shape)

    def has_zero_padding(self, name: str, arrays: Mapping[str, Array], shape: Shape) -> bool:
        """Whether the padding of all arrays of a tensor is zero, which kernels rely on."""
        format = FORMATS[self.format]
        values = format.values(shape).shape
        vectors = {one: part.shape[-1] for one, part in _named(name, format.scales(shape)).items()}
        if len(values) == 1:
            vectors[name] = shape[0]
        elif not LAYOUTS[self.layout].has_zero_padding(arrays[name], values):
            return False
        return not any(arrays[vector][..., size:].any() for vector, size in vectors.items())

    def _stored_shape(self, values: Part) -> Shape:
        is_weight = len(values.shape) == 2
        return LAYOUTS[self.layout].packed_shape(*values) if is_weight else self._padded_shape(values.shape)

    def _padded_shape(self, shape: Shape) -> Shape:
        multiple = LAYOUTS[self.layout].output_multiple
        return *shape[:-1], -(-shape[-1] // multiple) * multiple

    def _padded(self, vectors: Array) -> Array:
        missing = self._padded_shape(vectors.shape)[-1] - vectors.shape[-1]
        return np.pad(vectors, [*[(0, 0)] * (vectors.ndim - 1), (0, missing)])


def _named(name: str, scales: Mapping[str, T]) -> dict[str, T]:
    """Scales by their names in the file."""
    return {f"{name}.{scale}": one for scale, one in scales.items()}
