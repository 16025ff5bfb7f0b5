"""A level's kernels, called one by one through the addresses in its table: native/kernels.hpp in ctypes."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, NDArray

from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.panels import padded
from openbei.spec import DType

Array = NDArray[Any]
Doubles = NDArray[np.float64]

P, N, E, F = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_float

Activation = IntEnum("Activation", "none gelu gelu_tanh relu sigmoid silu tanh", start=0)
Epilogue = IntEnum("Epilogue", "activate widen multiply add grow maximize", start=0)
NormKind = IntEnum("NormKind", "none layer rms unit", start=0)
NormTarget = IntEnum("NormTarget", "activations floats grow add", start=0)
Pooling = IntEnum("Pooling", "tokens cls max mean mean_sqrt_len weighted_mean last_token", start=0)

FAR = 2**64 - 1
"""How far a token sees that sees all."""


def fields(names: str, kind: Any) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class LinearArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P) + fields("x_stride", N) + fields("weight bias", P)
        + fields("rows in_features panel_begin panel_end", N) + fields("epilogue activation", E)
        + fields("residual", P) + fields("residual_stride", N) + fields("maxima_of y", P) + fields("y_stride", N)
    )  # fmt: skip


class RelativeTables(ctypes.Structure):
    _fields_ = fields("rows keys queries", P) + fields("num_rows", N)


class AttentionArgs(ctypes.Structure):
    _fields_ = (
        fields("rows", P) + fields("stride key value", N) + fields("queries", P) + fields("query_stride head", N)
        + fields("context", P) + fields("context_stride num_tokens query_begin query_end head_dim before after", N)
        + fields("scale softcap", F) + fields("bias", P) + fields("relative", RelativeTables) + fields("scratch", P)
    )  # fmt: skip


class NormArgs(ctypes.Structure):
    _fields_ = (
        fields("kind", E) + fields("x", P) + fields("x_stride", N) + fields("weight bias", P) + fields("eps", F)
        + fields("rows width", N) + fields("target", E) + fields("residual", P) + fields("residual_stride", N)
        + fields("y", P) + fields("y_stride", N)
    )  # fmt: skip


class TurnArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P) + fields("x_stride rows heads head_dim dim", N) + fields("norm", E)
        + fields("norm_weight norm_bias", P) + fields("norm_eps", F) + fields("norm_width", N)
        + fields("cosines sines positions", P)
    )  # fmt: skip


class EmbedArgs(ctypes.Structure):
    _fields_ = (
        fields("token_table position_table type_table", P) + fields("has_packed_tokens", ctypes.c_bool)
        + fields("ids positions types", P) + fields("scale", F)
        + fields("rows width", N) + fields("x", P) + fields("x_stride", N)
    )  # fmt: skip


class PoolArgs(ctypes.Structure):
    _fields_ = (
        fields("x", P) + fields("x_stride num_tokens num_unpooled width", N) + fields("pooling", E)
        + fields("widen", ctypes.c_bool) + fields("y", P) + fields("y_stride", N)
    )  # fmt: skip


class Kernels(ctypes.Structure):
    _fields_ = [
        ("activation_bytes", N),
        ("fewest_rows", N),
        ("thread_bytes", ctypes.CFUNCTYPE(N, N)),
        ("enter", ctypes.CFUNCTYPE(None, P)),
        ("leave", ctypes.CFUNCTYPE(None)),
        ("linear", ctypes.CFUNCTYPE(None, ctypes.POINTER(LinearArgs))),
        ("attention_scratch_bytes", ctypes.CFUNCTYPE(N, N, N, N)),
        ("pack_head", ctypes.CFUNCTYPE(None, ctypes.POINTER(AttentionArgs))),
        ("attend", ctypes.CFUNCTYPE(None, ctypes.POINTER(AttentionArgs))),
        ("norm", ctypes.CFUNCTYPE(None, ctypes.POINTER(NormArgs))),
        ("turn", ctypes.CFUNCTYPE(None, ctypes.POINTER(TurnArgs))),
        ("embed", ctypes.CFUNCTYPE(None, ctypes.POINTER(EmbedArgs))),
        ("pool", ctypes.CFUNCTYPE(None, ctypes.POINTER(PoolArgs))),
        ("peak", ctypes.CFUNCTYPE(ctypes.c_double, N)),
    ]


STRUCTURES = (LinearArgs, RelativeTables, AttentionArgs, NormArgs, TurnArgs, EmbedArgs, PoolArgs, Kernels)


def arguments(structure: Any, given: dict[str, Any]) -> Any:
    """A structure of what is given: arrays become the addresses of their first elements, what is missing zeros."""
    return structure(**{name: x.ctypes.data if isinstance(x, np.ndarray) else x for name, x in given.items()})


@dataclass(frozen=True)
class Level:
    """The table at an address, and the dtype of the weights that it reads."""

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
        """What storing an activation changes it by at most, relative to it."""
        return 2.0**-24 if self.activations == np.float32 else 2.0**-8

    def rows(self, values: ArrayLike, *, beyond: float = 1000.0, dtype: Any = None, more: int = 0) -> Array:
        """Rows as kernels take them: whole blocks of 32 rows and columns and `more` columns, all of them finite."""
        values = np.asarray(values)
        shape = (padded(values.shape[0]), padded(values.shape[1]) + more)
        out = np.full(shape, beyond, dtype or self.activations)
        out[: values.shape[0], : values.shape[1]] = values
        return out

    def stored(self, values: ArrayLike) -> Doubles:
        """Values as activations hold them."""
        return np.asarray(values).astype(np.float32).astype(self.activations).astype(np.float64)

    def weights(self, values: ArrayLike) -> tuple[Array, Doubles]:
        """A packed weight [N, K], and what it stands for."""
        values = np.asarray(values, np.float32)
        encoded = FORMATS[self.dtype].encode(values).values
        return LAYOUTS["panels"].pack(encoded), encoded.astype(np.float64)

    def call(self, kernel: str, **given: Any) -> None:
        """One kernel that takes one structure."""
        structures = {"linear": LinearArgs, "norm": NormArgs, "turn": TurnArgs, "embed": EmbedArgs, "pool": PoolArgs}
        with self._thread():
            getattr(self.kernels, kernel)(ctypes.byref(arguments(structures[kernel], given)))

    def attend(self, **given: Any) -> None:
        """A head packed, and then attended to."""
        relative = given.pop("relative", RelativeTables())
        size = self.kernels.attention_scratch_bytes(given["num_tokens"], given["head_dim"], relative.num_rows)
        scratch = aligned(size)
        with self._thread():
            args = arguments(AttentionArgs, {**given, "relative": relative, "scratch": scratch})
            self.kernels.pack_head(ctypes.byref(args))
            self.kernels.attend(ctypes.byref(args))

    @contextmanager
    def _thread(self) -> Iterator[None]:
        memory = aligned(self.kernels.thread_bytes(8192))
        self.kernels.enter(memory.ctypes.data)
        yield
        self.kernels.leave()


def aligned(num_bytes: int) -> Array:
    """Memory that begins at a cache line, full of numbers that are not finite."""
    memory = np.full(num_bytes + 64, 0xFF, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + num_bytes]


def check(found: ArrayLike, expected: ArrayLike, tolerance: ArrayLike) -> None:
    """Within the tolerance each; a message says where it is worst."""
    found, expected = np.asarray(found).astype(np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape
    share = np.abs(found - expected) / tolerance
    worst = np.unravel_index(np.argmax(np.where(np.isnan(share), np.inf, share)), share.shape)
    assert share[worst] <= 1, f"{found[worst]} at {worst}, not {expected[worst]}: {share[worst]:.2f} of the tolerance"
