"""The kernels for embeddings and for pooling."""

import numpy as np
import pytest

from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.panels import padded
from tests.native.kernels import POOLINGS, Doubles, Level, check

UNTOUCHED = 77.0
ROUNDING = 2.0**-24
WIDTHS = [1, 3, 5, 16, 31, 33, 64, 100, 321]


@pytest.mark.parametrize("packed", [False, True], ids=["rows", "packed"])
@pytest.mark.parametrize("scale", [1.0, 0.37, 45.25])
@pytest.mark.parametrize("parts", [(), ("position",), ("type",), ("position", "type")], ids=str)
def test_embeddings(level: Level, parts: tuple[str, ...], scale: float, packed: bool) -> None:
    for width in WIDTHS:
        rng = np.random.default_rng(width)
        sizes = {"token": 50, "position": 20, "type": 3}
        tables = {
            name: FORMATS[level.dtype].encode(rng.standard_normal((rows, width)).astype(np.float32) * 8).values
            for name, rows in sizes.items()
            if name == "token" or name in parts
        }
        indices = {name: rng.integers(0, rows, 11).astype(np.int32) for name, rows in sizes.items()}
        indices["token"][:2] = [0, 49]
        rows = {name: table[indices[name]].astype(np.float64) for name, table in tables.items()}
        rows["token"] *= np.float64(np.float32(scale))
        if packed:
            tables["token"] = LAYOUTS["panels"].pack(tables["token"])
        x = np.zeros((12, padded(width) + 32), np.float32)
        x[11] = UNTOUCHED
        level.call(
            "embed",
            **{f"{name}_table": table for name, table in tables.items()},
            ids=indices["token"],
            positions=indices["position"],
            types=indices["type"],
            has_packed_tokens=packed,
            scale=scale,
            rows=11,
            width=width,
            x=x,
            x_stride=x.shape[1],
        )
        sums = [np.abs(part) for part in rows.values()]
        check(x[:11, :width], sum(rows.values()), 3 * ROUNDING * np.sum(sums, axis=0))
        assert (x[:11, width:] == 0).all()  # norms rely on it
        assert (x[11] == UNTOUCHED).all()


def pooled(pooling: str, x: Doubles, num_excluded: int) -> Doubles:
    """One row, or all rows for "tokens"."""
    places, rest = np.arange(1, len(x) + 1)[num_excluded:], x[num_excluded:]
    match pooling:
        case "tokens":
            return x
        case "cls":
            return rest[:1]
        case "last_token":
            return x[-1:]
        case "max":
            return rest.max(axis=0, keepdims=True)
        case "mean":
            return rest.mean(axis=0, keepdims=True)
        case "mean_sqrt_len":
            return rest.sum(axis=0, keepdims=True) / np.sqrt(len(rest))
        case _:
            return (places[:, None] * rest / places.sum()).sum(axis=0, keepdims=True)


@pytest.mark.parametrize("writes_float32", [True, False], ids=["float32", "activations"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings(level: Level, pooling: str, writes_float32: bool) -> None:
    for width in WIDTHS:
        for num_tokens, num_excluded in ((1, 0), (2, 0), (2, 1), (3, 1), (31, 0), (33, 32), (700, 5)):
            rng = np.random.default_rng(width)
            x = level.stored(rng.standard_normal((num_tokens, width)) * 1000.0 ** rng.uniform(-1, 1, width))
            if width > 3:
                x[:, 3] = -np.abs(x[:, 3])  # the maximum is below zero
            exact = pooled(pooling, x, num_excluded)
            y = np.full((len(exact) + 1, width + 9), UNTOUCHED, np.float32 if writes_float32 else level.activations)
            rows = level.rows(x, more=32)
            level.call(
                "pool",
                x=rows,
                x_stride=rows.shape[1],
                num_tokens=num_tokens,
                num_excluded=num_excluded,
                width=width,
                pooling=POOLINGS[pooling],
                writes_float32=writes_float32,
                y=y,
                y_stride=width + 9,
            )
            adds = pooling in ("mean", "mean_sqrt_len", "weighted_mean")
            error = 4 * ROUNDING * np.sqrt(num_tokens) * pooled(pooling, np.abs(x), num_excluded) if adds else 0
            stored = 0 if writes_float32 else level.rounding * np.abs(exact)
            check(y[: len(exact), :width], exact, error + stored + 1e-38)
            assert (y[len(exact) :] == UNTOUCHED).all()
            assert (y[:, width:] == UNTOUCHED).all()
