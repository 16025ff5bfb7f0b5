"""Convert: checkpoint tensors are renamed, stacked or computed, encoded and packed, each when it is written."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from openbei.absorbed import NAME, absorb, absorbed_from, absorbed_shapes
from openbei.errors import CheckpointError
from openbei.formats.format import Floats
from openbei.formats.storage import Storage
from openbei.safetensors_file import Array, LazyTensor
from openbei.shapes import tensor_shapes
from openbei.spec import ModelSpec


def plan_tensors(
    spec: ModelSpec,
    parts_of: Mapping[str, list[Array]],
    computed: Mapping[str, Callable[..., Floats]],
    adjusted: Mapping[str, Callable[[Floats], Floats]],
    storage: Mapping[str, Storage],
    input_magnitudes: Mapping[str, Floats] = MappingProxyType({}),
) -> dict[str, LazyTensor]:
    """Every array of an engine directory with its shape and dtype, in file order; `load()` computes the values.

    `parts_of` has the checkpoint rows to stack for each tensor, empty for a zero tensor. For a tensor in `computed`,
    they are the arguments of its function. The result is passed through the function in `adjusted`, if there is one.
    `input_magnitudes` has those of `Format.encode` for weights whose format needs them.
    `load()` raises CheckpointError for values that are not finite in the tensor's format.
    """
    shapes = tensor_shapes(spec) | absorbed_shapes(spec)
    makers: dict[str, Callable[[], Floats]] = {}
    for name, shape in shapes.items():
        parts = parts_of.get(name) or [np.zeros(shape, np.float32)]
        makers[name] = partial(_numbers, parts, computed.get(name, _stack), adjusted.get(name))
    makers[f"{NAME}.weight"] = lambda: absorb(spec, makers[absorbed_from(spec)]())
    planned: dict[str, LazyTensor] = {}
    for name, stored in storage.items():
        tensor = _Tensor(name, makers[name], stored, input_magnitudes.get(name))
        for array, part in stored.parts(name, shapes[name]).items():
            planned[array] = LazyTensor(part.shape, part.dtype, partial(tensor.take, array))
    return planned


class _Tensor:
    """The arrays of one tensor. All are computed when the first one is taken; each can be taken once."""

    def __init__(
        self, name: str, make: Callable[[], Floats], storage: Storage, input_magnitudes: Floats | None
    ) -> None:
        self._name, self._make, self._storage, self._input_magnitudes = name, make, storage, input_magnitudes
        self._arrays: dict[str, Array] = {}

    def take(self, array: str) -> Array:
        if array not in self._arrays:
            self._arrays = self._storage.store(self._name, self._make(), self._input_magnitudes)
            if not all(np.isfinite(made).all() for made in self._arrays.values()):
                raise CheckpointError(
                    f"the checkpoint's numbers for {self._name} are not all finite in {self._storage.format}",
                    hint="set DTYPE: bfloat16" if self._storage.format == "float16" else None,
                )
        return self._arrays.pop(array)


def _numbers(parts: list[Array], join: Callable[..., Floats], adjust: Callable[[Floats], Floats] | None) -> Floats:
    joined = join(*(np.ascontiguousarray(part, np.float32) for part in parts))
    return adjust(joined) if adjust else joined


def _stack(*parts: Floats) -> Floats:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
