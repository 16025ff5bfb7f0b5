"""Convert: rename, stack or compute, cast and pack tensors into those of an engine, each in its turn to be written."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from openbei.errors import CheckpointError
from openbei.quant.layout import stored_layout
from openbei.quant.scheme import Floats, Scheme
from openbei.safetensors_file import Array, LazyTensor
from openbei.shapes import tensor_shapes
from openbei.spec import ModelSpec


def plan_tensors(
    spec: ModelSpec, parts_of: Mapping[str, list[Array]], computed: Mapping[str, Callable[..., Array]], scheme: Scheme
) -> dict[str, LazyTensor]:
    """Every engine tensor with its stored shape and dtype, in file order; numbers are made by `load()`.

    `parts_of` has the checkpoint rows that are stacked to each tensor, none where it is zero; those of a tensor in
    `computed` go through its function instead.

    `load()` raises CheckpointError for a tensor with numbers that are not finite in the engine's dtype.
    """
    shapes, planned = tensor_shapes(spec), {}
    for name, (stored, dtype, store) in stored_layout(spec, scheme).items():
        parts = parts_of[name] or [np.zeros(shapes[name], np.float32)]
        join = computed.get(name, _stack)
        divisor = np.float32(getattr(spec.head, "temperature", 1.0) if name.startswith("head.out.") else 1.0)
        planned[name] = LazyTensor(stored, dtype, partial(_load, name, parts, join, divisor, store))
    return planned


def _stack(*parts: Floats) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _load(
    name: str, parts: list[Array], join: Callable[..., Floats], divisor: np.float32, store: Callable[[Floats], Array]
) -> Array:
    joined = join(*(np.ascontiguousarray(part, np.float32) for part in parts))
    array = store(joined if divisor == 1 else joined / divisor)
    if not np.isfinite(array).all():
        raise CheckpointError(f"the checkpoint's numbers for {name} are not all finite in {array.dtype.name}")
    return array
