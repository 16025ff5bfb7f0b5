"""Calls a level's kernels through its table: native/kernels.hpp in ctypes."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from openbei import _native
from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.panels import padded
from openbei.spec import DType

Array = NDArray[Any]
Doubles = NDArray[np.float64]

P, N, E, F = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_float

ACTIVATIONS = {name: value for value, name in enumerate(_native.activations)}
POOLINGS = {name: value for value, name in enumerate(_native.poolings)}
Epilogue = IntEnum("Epilogue", "activate activate_float32 multiply add_residual accumulate max_pool", start=0)
WeightFormat = IntEnum("WeightFormat", "plain int8 float8 nvfp4 smooth_int8", start=0)
NormKind = IntEnum("NormKind", "none layer rms unit", start=0)
NormTarget = IntEnum("NormTarget", "activations float32 accumulate add_residual", start=0)

EVERYTHING = 2**64 - 1
"""The window of a token that attends to all tokens."""


def fields(names: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class LinearArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P)
        + fields("x_stride", N)
        + fields("weight bias", P)
        + fields("format", E)
        + fields("scales block_scales", P)
        + fields("num_blocks scale_stride", N)
        + fields("smoothing quantized_scratch", P)
        + fields("rows in_features panel_begin panel_end", N)
        + fields("epilogue activation", E)
        + fields("residual", P)
        + fields("residual_stride", N)
        + fields("max_pool_rows y", P)
        + fields("y_stride", N)
    )


class RelativeTables(ctypes.Structure):
    _fields_ = fields("row_of_distance keys queries", P) + fields("num_rows", N)


class AttentionArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P)
        + fields("x_stride key_column value_column", N)
        + fields("queries", P)
        + fields("query_stride head", N)
        + fields("context", P)
        + fields("context_stride num_tokens num_keys query_begin query_end head_dim window_before window_after", N)
        + fields("scale softcap", F)
        + fields("bias", P)
        + fields("relative", RelativeTables)
        + fields("scratch", P)
    )


class NormArgs(ctypes.Structure):
    _fields_ = (
        fields("kind", E)
        + fields("x", P)
        + fields("x_stride", N)
        + fields("weight bias", P)
        + fields("eps", F)
        + fields("rows width", N)
        + fields("target", E)
        + fields("residual", P)
        + fields("residual_stride", N)
        + fields("y", P)
        + fields("y_stride", N)
    )


class RopeArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P)
        + fields("x_stride rows heads head_dim rotary_dim", N)
        + fields("norm", E)
        + fields("norm_weight norm_bias", P)
        + fields("norm_eps", F)
        + fields("norm_width", N)
        + fields("cosines sines positions", P)
    )


class EmbedArgs(ctypes.Structure):
    _fields_ = (
        fields("token_table position_table type_table", P)
        + fields("has_packed_tokens", ctypes.c_bool)
        + fields("ids positions types", P)
        + fields("scale", F)
        + fields("rows width", N)
        + fields("x", P)
        + fields("x_stride", N)
    )


class PoolArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P)
        + fields("x_stride num_tokens num_excluded width", N)
        + fields("pooling", E)
        + fields("writes_float32", ctypes.c_bool)
        + fields("y", P)
        + fields("y_stride", N)
    )


class Kernels(ctypes.Structure):
    _fields_ = [
        ("activation_bytes", N),
        ("min_block_rows", N),
        ("product_scratch_bytes", ctypes.CFUNCTYPE(N, N)),
        ("quantized_scratch_bytes", ctypes.CFUNCTYPE(N, N)),
        ("enter", ctypes.CFUNCTYPE(None, P)),
        ("leave", ctypes.CFUNCTYPE(None)),
        ("linear", ctypes.CFUNCTYPE(None, ctypes.POINTER(LinearArgs))),
        ("attention_scratch_bytes", ctypes.CFUNCTYPE(N, N, N, N)),
        ("pack_keys_values", ctypes.CFUNCTYPE(None, ctypes.POINTER(AttentionArgs))),
        ("attend", ctypes.CFUNCTYPE(None, ctypes.POINTER(AttentionArgs))),
        ("norm", ctypes.CFUNCTYPE(None, ctypes.POINTER(NormArgs))),
        ("rope", ctypes.CFUNCTYPE(None, ctypes.POINTER(RopeArgs))),
        ("embed", ctypes.CFUNCTYPE(None, ctypes.POINTER(EmbedArgs))),
        ("pool", ctypes.CFUNCTYPE(None, ctypes.POINTER(PoolArgs))),
        ("peak", ctypes.CFUNCTYPE(ctypes.c_double, N)),
    ]


STRUCTURES = (LinearArgs, RelativeTables, AttentionArgs, NormArgs, RopeArgs, EmbedArgs, PoolArgs, Kernels)


def arguments(structure: Any, given: dict[str, Any]) -> Any:
    """A structure with these fields: arrays become the addresses of their first elements, missing fields zeros."""
    return structure(**{name: x.ctypes.data if isinstance(x, np.ndarray) else x for name, x in given.items()})


@dataclass(frozen=True)
class Level:
    """The table at an address, and the dtype of the weights that its kernels read."""

    address: int
    dtype: DType

    @property
    def kernels(self) -> Kernels:
        return Kernels.from_address(self.address)

    @property
    def activations(self) -> np.dtype[Any]:
        """The activation type."""
        return np.dtype(np.float32 if self.kernels.activation_bytes == 4 else ml_dtypes.bfloat16)

    @property
    def rounding(self) -> float:
        """The largest relative change of an activation when it is stored."""
        return 2.0**-24 if self.activations == np.float32 else 2.0**-8

    def rows(self, values: ArrayLike, *, beyond: float = 1000.0, dtype: Any = None, more: int = 0) -> Array:
        """Rows as kernels read them: padded to multiples of 32 rows and columns, plus `more` columns, all finite."""
        values = np.asarray(values)
        shape = (padded(values.shape[0]), padded(values.shape[1]) + more)
        out = np.full(shape, beyond, dtype or self.activations)
        out[: values.shape[0], : values.shape[1]] = values
        return out

    def stored(self, values: ArrayLike) -> Doubles:
        """Values after rounding to the activation type."""
        return np.asarray(values).astype(np.float32).astype(self.activations).astype(np.float64)

    def weights(self, values: ArrayLike) -> tuple[Array, Doubles]:
        """A packed weight [N, K], and its values after rounding to the dtype."""
        values = np.asarray(values, np.float32)
        encoded = FORMATS[self.dtype].encode(values).values
        return LAYOUTS["panels"].pack(encoded), encoded.astype(np.float64)

    def call(self, kernel: str, **given: Any) -> None:
        """Calls a kernel with a structure of these fields."""
        structures = {"linear": LinearArgs, "norm": NormArgs, "rope": RopeArgs, "embed": EmbedArgs, "pool": PoolArgs}
        with self._thread():
            getattr(self.kernels, kernel)(ctypes.byref(arguments(structures[kernel], given)))

    def attend(self, **given: Any) -> None:
        """Packs an attention head's keys and values, and attends to them."""
        relative = given.pop("relative", RelativeTables())
        size = self.kernels.attention_scratch_bytes(given["num_tokens"], given["head_dim"], relative.num_rows)
        scratch = aligned(size)
        with self._thread():
            args = arguments(AttentionArgs, {**given, "relative": relative, "scratch": scratch})
            self.kernels.pack_keys_values(ctypes.byref(args))
            self.kernels.attend(ctypes.byref(args))

    @contextmanager
    def _thread(self) -> Iterator[None]:
        memory = aligned(self.kernels.product_scratch_bytes(8192))
        self.kernels.enter(memory.ctypes.data)
        yield
        self.kernels.leave()


def aligned(num_bytes: int) -> Array:
    """Memory that begins at a cache line, filled with NaN."""
    memory = np.full(num_bytes + 64, 0xFF, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + num_bytes]


def check(found: ArrayLike, expected: ArrayLike, tolerance: ArrayLike) -> None:
    """Asserts that each element is within its tolerance; the message shows the worst one."""
    found, expected = np.asarray(found).astype(np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    share = np.abs(found - expected) / tolerance
    worst = np.unravel_index(np.argmax(np.where(np.isnan(share), np.inf, share)), share.shape)
    assert share[worst] <= 1, f"{found[worst]} at {worst}, not {expected[worst]}: {share[worst]:.2f} of the tolerance"
