"""Every scheme: round trip within its bound, the layout word for word, padding of zeros."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.quant import SCHEMES
from openbei.quant.scheme import padded
from openbei.spec import DType

SHAPES = [(1, 1), (32, 32), (31, 33), (33, 31), (96, 64), (3, 130)]


def weight(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", SCHEMES)
def test_round_trip(dtype: DType, shape: tuple[int, int]) -> None:
    scheme, w = SCHEMES[dtype], weight(shape)
    packed = scheme.pack(w)
    assert packed.shape == scheme.packed_shape(shape)
    assert packed.dtype == scheme.cast(w).dtype == scheme.dtype
    assert packed.flags.c_contiguous
    assert packed.size == padded(shape[0]) * padded(shape[1])
    unpacked = scheme.unpack(packed, shape)
    assert unpacked.dtype == np.float32
    assert (np.abs(unpacked - w) <= scheme.relative_error * np.abs(w)).all()
    assert np.array_equal(scheme.cast(w).astype(np.float32), unpacked)
    padding = scheme.unpack(packed, (padded(shape[0]), padded(shape[1])))
    assert not padding[shape[0] :].any()
    assert not padding[:, shape[1] :].any()


def test_layout_of_float32() -> None:
    w = weight((40, 50))
    packed = SCHEMES["float32"].pack(w)
    for panel, row, column in np.ndindex(packed.shape):
        n, k = 32 * panel + column, row
        assert packed[panel, row, column] == (w[n, k] if n < 40 and k < 50 else 0)


def test_layout_of_bfloat16() -> None:
    w = weight((40, 50)).astype(ml_dtypes.bfloat16).astype(np.float32)
    packed = SCHEMES["bfloat16"].pack(w)
    for panel, pair, column, half in np.ndindex(packed.shape):
        n, k = 32 * panel + column, 2 * pair + half
        assert packed[panel, pair, column, half] == (w[n, k] if n < 40 and k < 50 else 0)


def test_bfloat16_rounds_to_nearest_even() -> None:
    exact, step = 1.0, 2.0**-7
    given_rounded = {exact + 0.5 * step: 1.0, exact + 1.5 * step: 1 + 2 * step, exact + 0.51 * step: 1 + step}
    cast = SCHEMES["bfloat16"].cast(np.array([list(given_rounded)], np.float32))
    assert cast.astype(np.float32)[0].tolist() == list(given_rounded.values())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(sorted(SCHEMES)))
def test_packing_twice_changes_nothing(n: int, k: int, dtype: DType) -> None:
    scheme = SCHEMES[dtype]
    packed = scheme.pack(weight((n, k)))
    assert np.array_equal(scheme.pack(scheme.unpack(packed, (n, k))), packed)
