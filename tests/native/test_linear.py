"""The linear kernel: ragged shapes, every epilogue, and activations over their whole range."""

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from openbei.formats.panels import padded
from tests.native.kernels import ACTIVATIONS, Array, Doubles, Epilogue, Level, check

UNTOUCHED = 77.0
ROUNDING = 2.0**-24

# rows, in_features, out_features: 1, one more and one less than a strip or a panel, and large depths
SHAPES = [
    (1, 1, 1),
    (2, 33, 31),
    (3, 64, 32),
    (4, 31, 65),
    (5, 5, 96),
    (11, 128, 33),
    (12, 40, 40),
    (13, 96, 64),
    (24, 32, 300),
    (25, 70, 50),
    (31, 1100, 31),
    (32, 384, 32),
    (33, 7, 257),
    (49, 160, 100),
    (65, 32, 34),
    (170, 48, 36),
]


class Product:
    """x · Wᵀ + bias in float64 for random numbers as a level stores them, and the tolerance for rounding."""

    def __init__(self, level: Level, rows: int, in_features: int, out_features: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        x = level.stored(rng.standard_normal((rows, in_features)))
        bias = rng.standard_normal(out_features).astype(np.float32)
        self.weight, weight = level.weights(rng.standard_normal((out_features, in_features)))
        self.exact = x @ weight.T + bias
        self.tolerance = (2 + 4 * math.sqrt(in_features)) * ROUNDING * (np.abs(x) @ np.abs(weight).T + np.abs(bias))
        self.num_rows, self.width = self.exact.shape
        self.given: dict[str, Any] = {
            "x": level.rows(x),
            "weight": self.weight,
            "bias": np.pad(bias, (0, padded(out_features) - out_features)),
            "rows": rows,
            "in_features": padded(in_features),
            "panel_end": padded(out_features) // 32,
            "x_stride": padded(in_features),
        }


def run(level: Level, product: Product, y: Array, **others: Any) -> Doubles:
    """The rows that the kernel writes to y; asserts that everything else in y is unchanged."""
    before = y.copy()
    level.call("linear", **product.given | {"y": y, "y_stride": y.shape[1]} | others)
    first, last = (32 * product.given.get(name, 0) for name in ("panel_begin", "panel_end"))
    num_rows = y.shape[0] if "max_pool_rows" in others else product.num_rows
    y_rest, before_rest = y.copy(), before.copy()
    for rest in (y_rest, before_rest):
        rest[:num_rows, first:last] = 0
    np.testing.assert_array_equal(y_rest, before_rest)
    return y[:num_rows, : product.width].astype(np.float64)


def blank(product: Product, dtype: Any) -> Array:
    return np.full((product.num_rows + 3, padded(product.width) + 32), UNTOUCHED, dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products(level: Level, shape: tuple[int, int, int]) -> None:
    product = Product(level, *shape)
    found = run(level, product, blank(product, np.float32), epilogue=Epilogue.activate_float32)
    check(found, product.exact, product.tolerance)
    rounded = run(level, product, blank(product, level.activations), epilogue=Epilogue.activate)
    check(rounded, product.exact, product.tolerance + level.rounding * np.abs(product.exact))


@pytest.mark.parametrize("panels", [(0, 1), (1, 2), (1, 4), (3, 4)])
def test_some_of_the_panels(level: Level, panels: tuple[int, int]) -> None:
    product = Product(level, 14, 64, 128)
    product.given |= {"panel_begin": panels[0], "panel_end": panels[1]}
    found = run(level, product, blank(product, np.float32), epilogue=Epilogue.activate_float32)
    columns = slice(32 * panels[0], 32 * panels[1])
    check(found[:, columns], product.exact[:, columns], product.tolerance[:, columns])


def test_rows_that_are_packed_in_parts(level: Level) -> None:
    """More rows than the AMX level packs at once, and enough panels that it does."""
    product = Product(level, 150, 5120, 288)
    check(
        run(level, product, blank(product, np.float32), epilogue=Epilogue.activate_float32),
        product.exact,
        product.tolerance,
    )


@pytest.mark.parametrize("shape", [(1, 40, 33), (7, 64, 96), (45, 31, 290)], ids=str)
def test_epilogues(level: Level, shape: tuple[int, int, int]) -> None:
    product = Product(level, *shape)
    rng = np.random.default_rng(1)
    before = level.stored(rng.standard_normal((product.num_rows, product.width)) * 3)

    y = level.rows(before)
    found = run(level, product, y, epilogue=Epilogue.multiply)
    expected = before * product.exact
    check(found, expected, np.abs(before) * product.tolerance + level.rounding * np.abs(expected))

    y = level.rows(before, dtype=np.float32)
    found = run(level, product, y, epilogue=Epilogue.accumulate)
    check(found, before + product.exact, product.tolerance + ROUNDING * np.abs(before + product.exact))

    residual = level.rows(before, more=32)
    others = {"residual": residual, "residual_stride": residual.shape[1]}
    found = run(level, product, blank(product, np.float32), epilogue=Epilogue.add_residual, **others)
    check(found, before + product.exact, product.tolerance + ROUNDING * np.abs(before + product.exact))


@pytest.mark.parametrize("shape", [(1, 40, 33), (45, 31, 290)], ids=str)
def test_max_pool(level: Level, shape: tuple[int, int, int]) -> None:
    product = Product(level, *shape)
    rng = np.random.default_rng(2)
    rows = rng.integers(0, 4, product.num_rows).astype(np.int32)
    y = rng.standard_normal((4, padded(product.width))).astype(np.float32)
    expected = y[:, : product.width].astype(np.float64)
    np.maximum.at(expected, rows, product.exact)
    found = run(level, product, y, epilogue=Epilogue.max_pool, max_pool_rows=rows)
    check(found, expected, product.tolerance.max())


def sigmoid(x: Doubles) -> Doubles:
    return np.exp(-np.logaddexp(0, -x))


def gelu(x: Doubles) -> Doubles:
    return x * np.vectorize(math.erfc)(-x / math.sqrt(2)) / 2


def exponent(activation: str, x: Doubles) -> Doubles:
    """The exponent in 1 / (1 + e^-exponent), which the sigmoid-like activations contain."""
    return 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3) if activation == "gelu_tanh" else x


EXACT: dict[str, Callable[[Doubles], Doubles]] = {
    "none": lambda x: x,
    "gelu": gelu,
    "gelu_tanh": lambda x: x * sigmoid(exponent("gelu_tanh", x)),
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
}


def tolerance(activation: str, x: Doubles, is_coarse: bool) -> Doubles:
    """The error bounds that native/kernels/activation.hpp documents, plus the rounding of float32."""
    magnitude = np.abs(x)
    match activation:
        case "none" | "relu":
            return np.full(x.shape, 1e-38)
        case "tanh":
            return np.full(x.shape, 4e-7)
        case "gelu":
            return 2e-5 * magnitude + 1e-38 if is_coarse else 4e-7 * np.clip(magnitude, 1, 6) + 2 * ROUNDING * magnitude
    relative = (2e-4 if is_coarse else 1e-6) + 8 * ROUNDING * np.abs(exponent(activation, x))
    return np.minimum(relative, 1) * np.abs(EXACT[activation](x)) + 2e-38 * np.maximum(magnitude, 1)


def numbers(level: Level) -> Array:
    """Every bfloat16 up to a million, and for float32 levels a dense range up to 100, in rows of 32."""
    words = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float32)
    words = words[np.isfinite(words) & (np.abs(words) <= 1e6) & ((np.abs(words) > 1e-30) | (words == 0))]
    dense = np.linspace(-100, 100, 2**15 + 1) if level.activations == np.float32 else ()
    values = np.concatenate([words, dense])
    return level.stored(np.pad(values, (0, padded(len(values)) - len(values)))).reshape(-1, 32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_over_their_whole_range(level: Level, activation: str) -> None:
    """The weight is the identity, so that the whole error is the activation's."""
    x = numbers(level)
    weight, _ = level.weights(np.eye(32))
    given: dict[str, Any] = {
        "x": level.rows(x),
        "x_stride": 32,
        "weight": weight,
        "bias": np.zeros(32, np.float32),
        "rows": len(x),
        "in_features": 32,
        "panel_end": 1,
        "activation": ACTIVATIONS[activation],
        "y_stride": 32,
    }
    wide, stored = np.empty(x.shape, np.float32), np.empty(x.shape, level.activations)
    level.call("linear", **given, epilogue=Epilogue.activate_float32, y=wide)
    level.call("linear", **given, epilogue=Epilogue.activate, y=stored)
    check(wide, EXACT[activation](x), tolerance(activation, x, is_coarse=level.activations != np.float32))
    smallest = np.finfo(np.float32).tiny  # bfloat16 stores flush smaller numbers to zero
    for values in (stored, wide):
        values[np.abs(values.astype(np.float32)) < smallest] = 0
    np.testing.assert_array_equal(stored, wide.astype(level.activations))
