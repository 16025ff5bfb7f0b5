"""The kernel for QK-norm and rotary embedding against float64, for any number of heads."""

import numpy as np
import pytest

from openbei.formats.panels import padded
from tests.native.kernels import Doubles, Level, NormKind, check

ROUNDING = 2.0**-24

# heads, head_dim, rotary_dim: one head, more heads than are processed at once, ragged and wide heads
SHAPES = [
    (1, 64, 64),
    (1, 12, 6),
    (2, 5, 2),
    (3, 33, 32),
    (15, 8, 8),
    (16, 32, 32),
    (17, 12, 12),
    (20, 64, 32),
    (24, 80, 80),
    (32, 16, 16),
    (33, 8, 2),
    (40, 32, 0),
    (2, 256, 64),
    (5, 100, 50),
]


def rotated(x: Doubles, cosines: Doubles, sines: Doubles) -> Doubles:
    """x [rows, heads, head_dim], the first half of the rotary columns rotated against the second."""
    half = cosines.shape[1]
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    cosines, sines = cosines[:, None], sines[:, None]
    return np.concatenate([first * cosines - second * sines, second * cosines + first * sines, rest], axis=2)


def normalized(kind: NormKind, x: Doubles, weight: Doubles, bias: Doubles, eps: float) -> Doubles:
    """The norm over the last axis."""
    if kind == NormKind.none:
        return x
    if kind == NormKind.layer:
        x = x - x.mean(axis=-1, keepdims=True)
    scaled = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps) * weight
    return scaled + bias if kind == NormKind.layer else scaled


@pytest.mark.parametrize("over_all_heads", [False, True], ids=["each head", "all heads"])
@pytest.mark.parametrize("kind", [NormKind.none, NormKind.layer, NormKind.rms], ids=lambda kind: kind.name)
def test_rope(level: Level, kind: NormKind, over_all_heads: bool) -> None:
    for heads, head_dim, dim in SHAPES:
        rng = np.random.default_rng(heads)
        # Heads differ in scale and offset, so that one head's moments would be wrong for another.
        sizes = np.exp(rng.uniform(-3, 3, (5, heads, 1)))
        x = level.stored((rng.standard_normal((5, heads, head_dim)) + rng.standard_normal((5, heads, 1))) * sizes)
        width = heads * head_dim if over_all_heads else head_dim
        weight, bias = (rng.standard_normal(width).astype(np.float32) for _ in range(2))
        positions = np.array([0, 1, 2, 40, 7], np.int32)
        angles = rng.uniform(0, 7, (41, dim // 2))
        cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        groups = x.reshape(5, -1, width)
        exact = normalized(kind, groups, weight, bias, 1e-6).reshape(x.shape)
        exact = rotated(exact, cosines[positions].astype(np.float64), sines[positions].astype(np.float64))
        rows = level.rows(x.reshape(5, -1), beyond=50.0, more=32)
        level.call(
            "rope",
            x=rows,
            x_stride=rows.shape[1],
            rows=5,
            heads=heads,
            head_dim=head_dim,
            rotary_dim=dim,
            norm=kind,
            norm_weight=weight,
            norm_bias=bias,
            norm_eps=1e-6,
            norm_width=width,
            cosines=cosines,
            sines=sines,
            positions=positions,
        )
        size = np.abs(exact).max(axis=2, keepdims=True)
        found = rows[:5, : heads * head_dim].reshape(x.shape)
        check(found, exact, 32 * ROUNDING * size + level.rounding * np.abs(exact))
        assert (rows[5:] == 50).all()
        assert (rows[:, heads * head_dim :] == 50).all()


def test_heads_of_any_size(level: Level) -> None:
    """Heads of zeros, which only eps keeps from a division by zero, and heads of tiny and huge constants."""
    x = np.ones((3, 20, 16)) * np.array([0.0, 1e-12, 3e15])[:, None, None]
    x[:, 17] = 0.0
    weight = np.arange(1, 17, dtype=np.float32)
    rows = level.rows(level.stored(x).reshape(3, -1))
    level.call(
        "rope",
        x=rows,
        x_stride=padded(320),
        rows=3,
        heads=20,
        head_dim=16,
        rotary_dim=0,
        norm=NormKind.rms,
        norm_weight=weight,
        norm_eps=1e-6,
        norm_width=16,
        positions=np.zeros(3, np.int32),
    )
    exact = normalized(NormKind.rms, level.stored(x), weight.astype(np.float64), np.zeros(16), 1e-6)
    check(rows[:3, :320], exact.reshape(3, -1), 1e-38 + (8 * ROUNDING + level.rounding) * np.abs(exact.reshape(3, -1)))
