"""How each tensor of an engine is stored: packed, padded or as it is, by its name."""

import numpy as np

from openbei.quant.scheme import TILE, Array, Scheme, padded
from openbei.shapes import tensor_shapes
from openbei.spec import ModelSpec

Stored = tuple[tuple[int, ...], np.dtype[np.generic]]
"""The shape and dtype of an array in the file."""


def stored_layout(spec: ModelSpec, scheme: Scheme) -> dict[str, Stored]:
    """The stored shape and dtype of every engine tensor, by name; docs/engine-format.md describes them."""
    float32: np.dtype[np.generic] = np.dtype(np.float32)
    layout: dict[str, Stored] = {}
    for name, shape in tensor_shapes(spec).items():
        match name.split("."):
            case ["embeddings", _]:
                layout[name] = shape, scheme.dtype
            case ["attention", "buckets"] | [*_, "norm" | "post_norm" | "q_norm" | "k_norm", _]:
                layout[name] = shape, float32
            case [*_, "bias"]:
                layout[name] = (padded(shape[0]),), float32
            case _:
                layout[name] = scheme.packed_shape((shape[0], shape[1])), scheme.dtype
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
