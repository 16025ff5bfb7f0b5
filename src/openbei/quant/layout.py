"""How each tensor of an engine is stored: packed, padded or as it is, by its name."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from openbei.quant.scheme import TILE, Array, Floats, Scheme, pad, padded
from openbei.shapes import tensor_shapes
from openbei.spec import ModelSpec


class Stored(NamedTuple):
    """The shape and dtype of an array in the file, and what makes it of an engine tensor in float32."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    store: Callable[[Floats], Array]


def stored_layout(spec: ModelSpec, scheme: Scheme) -> dict[str, Stored]:
    """How every engine tensor is stored, by name, in file order; docs/engine-format.md describes them."""
    float32: np.dtype[np.generic] = np.dtype(np.float32)
    layout: dict[str, Stored] = {}
    for name, shape in tensor_shapes(spec).items():
        match name.split("."):
            case ["embeddings", _]:
                layout[name] = Stored(shape, scheme.dtype, scheme.cast)
            case ["attention", "buckets"] | [*_, "norm" | "post_norm" | "q_norm" | "k_norm", _]:
                layout[name] = Stored(shape, float32, np.asarray)
            case [*_, "bias"]:
                layout[name] = Stored((padded(shape[0]),), float32, pad)
            case _:
                layout[name] = Stored(scheme.packed_shape((shape[0], shape[1])), scheme.dtype, scheme.pack)
    return layout


def has_zero_padding(array: Array, shape: tuple[int, ...]) -> bool:
    """Whether what lies beyond an engine tensor's logical `shape` is zero, as kernels rely on."""
    if array.shape == shape:
        return True
    bits = array.view(np.uint16 if array.itemsize == 2 else np.uint32)
    if array.ndim == 1:
        return not bits[shape[0] :].any()
    rows, columns = shape
    together = 2 if array.ndim == 4 else 1  # columns that lie side by side
    whole, rest = divmod(columns, together)
    beyond = [bits[-1, :, rows - TILE * (len(bits) - 1) :], bits[:, whole + rest :]]
    if rest:
        beyond.append(bits[:, whole, :, 1])
    return not any(part.any() for part in beyond)
