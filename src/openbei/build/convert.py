"""Convert: rename, stack or compute, cast and pack tensors into those of an engine, each in its turn to be written."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from openbei.errors import CheckpointError
from openbei.quant.scheme import Floats, Scheme, pad, padded
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
    float32 = np.dtype(np.float32)
    planned = {}
    for name, shape in tensor_shapes(spec).items():
        finish: Callable[[Floats], Array]
        match name.split("."):
            case ["embeddings", _]:
                stored, dtype, finish = shape, scheme.dtype, scheme.cast
            case ["attention", "buckets"] | [*_, "norm" | "post_norm" | "q_norm" | "k_norm", _]:
                stored, dtype, finish = shape, float32, np.asarray
            case [*_, "bias"]:
                stored, dtype, finish = (padded(shape[0]),), float32, pad
            case _:
                stored, dtype, finish = scheme.packed_shape((shape[0], shape[1])), scheme.dtype, scheme.pack
        parts = parts_of[name] or [np.zeros(shape, np.float32)]
        join = computed.get(name, _stack)
        divisor = np.float32(getattr(spec.head, "temperature", 1.0) if name.startswith("head.out.") else 1.0)
        planned[name] = LazyTensor(stored, dtype, partial(_load, name, parts, join, divisor, finish))
    return planned


def _stack(*parts: Floats) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _load(
    name: str, parts: list[Array], join: Callable[..., Floats], divisor: np.float32, finish: Callable[[Floats], Array]
) -> Array:
    joined = join(*(np.ascontiguousarray(part, np.float32) for part in parts))
    array = finish(joined if divisor == 1 else joined / divisor)
    if not np.isfinite(array).all():
        raise CheckpointError(f"the checkpoint's numbers for {name} are not all finite in {array.dtype.name}")
    return array
