"""Activations of the reference backend: numpy, float32."""

import math
from collections.abc import Callable

import numpy as np

from openbei.batch import Vectors
from openbei.spec import Activation

_ERF = np.array([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0], np.float32)


def erf(x: Vectors) -> Vectors:
    """The error function to 5e-7, float32's own rounding included (Abramowitz & Stegun, 7.1.26)."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    magnitude: Vectors = 1 - np.polyval(_ERF, t) * np.exp(-x * x)
    return np.copysign(magnitude, x)


def gelu(x: Vectors) -> Vectors:
    """x·Φ(x)."""
    return x * (np.float32(0.5) + np.float32(0.5) * erf(x * np.float32(math.sqrt(0.5))))


def gelu_tanh(x: Vectors) -> Vectors:
    """The tanh approximation of gelu."""
    inner = np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x * x * x)
    return x * (np.float32(0.5) + np.float32(0.5) * np.tanh(inner))


def sigmoid(x: Vectors) -> Vectors:
    """1 / (1 + e^-x), written with tanh, which does not overflow."""
    bent: Vectors = np.tanh(np.float32(0.5) * x)
    return np.float32(0.5) + np.float32(0.5) * bent


def silu(x: Vectors) -> Vectors:
    """x·sigmoid(x)."""
    return x * sigmoid(x)


def relu(x: Vectors) -> Vectors:
    """max(x, 0)."""
    rectified: Vectors = np.maximum(x, np.float32(0))
    return rectified


def tanh(x: Vectors) -> Vectors:
    """tanh(x)."""
    bent: Vectors = np.tanh(x)
    return bent


ACTIVATIONS: dict[Activation, Callable[[Vectors], Vectors]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "relu": relu,
    "sigmoid": sigmoid,
    "silu": silu,
    "tanh": tanh,
}
