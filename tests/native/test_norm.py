"""The norm kernel against float64: every width, rows of any magnitude and spread, and every target."""

import numpy as np
import pytest

from openbei.formats.panels import padded
from tests.native.kernels import Array, Doubles, Level, NormKind, NormTarget, check

UNTOUCHED = 77.0
ROUNDING = 2.0**-24

WIDTHS = [1, 3, 8, 31, 32, 33, 64, 100, 129, 384, 1000]
KINDS = [
    (NormKind.none, 0.0),
    (NormKind.layer, 1e-12),
    (NormKind.layer, 1e-5),
    (NormKind.rms, 1e-6),
    (NormKind.unit, 1e-12),
]


def rows_of(width: int) -> Array:
    """float32 rows: ordinary, zero, constant, huge, tiny, far from zero, and with one outlier."""
    rng = np.random.default_rng(width)
    rows = rng.standard_normal((9, width)).astype(np.float32)
    rows[1], rows[2], rows[3] = 0.0, 0.5, -1024.0
    rows[4] *= 1e15
    rows[5] *= 1e-15
    rows[6] *= 1e-3
    rows[7] = rows[7] / 8 + 300
    rows[8, width // 2] = 3e4
    return rows


def normalized(kind: NormKind, x: Doubles, weight: Doubles, bias: Doubles, eps: float) -> tuple[Doubles, Doubles]:
    """Normalized rows in float64, and the tolerance for float32."""
    if kind == NormKind.none:
        return x, np.full(x.shape, 1e-38)
    size = np.abs(x).max(axis=1, keepdims=True)
    if kind == NormKind.unit:
        inverse = 1 / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), eps)
        return x * inverse, 8 * ROUNDING * np.abs(x * inverse) + 1e-38
    if kind == NormKind.rms:
        inverse = 1 / np.sqrt(np.square(x).mean(axis=1, keepdims=True) + eps)
        return x * inverse * weight, 8 * ROUNDING * np.abs(x * inverse * weight) + 1e-38
    centered = x - x.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(np.square(centered).mean(axis=1, keepdims=True) + eps)
    relative = ROUNDING * (8 * np.abs(centered) + 4 * size) * inverse  # the mean is rounded like the largest element
    exact = centered * inverse * weight + bias
    return exact, relative * np.abs(weight) + 4 * ROUNDING * (np.abs(exact) + np.abs(bias))


@pytest.mark.parametrize("target", list(NormTarget), ids=lambda target: target.name)
@pytest.mark.parametrize(("kind", "eps"), KINDS, ids=lambda value: getattr(value, "name", str(value)))
def test_norms(level: Level, kind: NormKind, eps: float, target: NormTarget) -> None:
    for width in WIDTHS:
        rng = np.random.default_rng(1)
        weight, bias = (1 + rng.standard_normal(width) / 2, rng.standard_normal(width))
        weight, bias = (values.astype(np.float32) for values in (weight, bias))
        x = rows_of(width)
        exact, tolerance = normalized(kind, *(values.astype(np.float64) for values in (x, weight, bias)), eps)
        added = level.stored(rng.standard_normal(x.shape))
        y = np.full((len(x) + 2, padded(width) + 32), UNTOUCHED, np.float32)
        if target == NormTarget.activations:
            y = y.astype(level.activations)
            tolerance = tolerance + level.rounding * np.abs(exact)
        if target in (NormTarget.accumulate, NormTarget.add_residual):
            y[: len(x), :width] = added
            exact = exact + added
            tolerance = tolerance + 2 * ROUNDING * np.abs(exact)
        residual = level.rows(added, more=64)
        pad = (0, padded(width) - width)
        level.call(
            "norm",
            kind=kind,
            x=np.pad(x, ((0, 0), pad)),
            x_stride=padded(width),
            weight=np.pad(weight, pad),
            bias=np.pad(bias, pad),
            eps=eps,
            rows=len(x),
            width=width,
            target=target,
            residual=residual,
            residual_stride=residual.shape[1],
            y=y,
            y_stride=y.shape[1],
        )
        check(y[: len(x), :width], exact, tolerance)
        assert (y[len(x) :] == UNTOUCHED).all()
        assert (y[:, padded(width) :] == UNTOUCHED).all()


def test_y_may_be_x(level: Level) -> None:
    """Sums can be normalized in place, and the residual added to them."""
    x = rows_of(64)[:1].repeat(5, axis=0)
    added = level.stored(np.random.default_rng(1).standard_normal(x.shape))
    weight, bias = np.full(64, 1.5, np.float32), np.full(64, 0.25, np.float32)
    exact, tolerance = normalized(NormKind.layer, *(values.astype(np.float64) for values in (x, weight, bias)), 1e-5)
    level.call(
        "norm",
        kind=NormKind.layer,
        x=x,
        x_stride=64,
        weight=weight,
        bias=bias,
        eps=1e-5,
        rows=5,
        width=64,
        target=NormTarget.add_residual,
        residual=level.rows(added),
        residual_stride=64,
        y=x,
        y_stride=64,
    )
    check(x, exact + added, tolerance + 2 * ROUNDING * np.abs(exact + added))
