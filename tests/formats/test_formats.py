"""Every format in every layout: round trip within its bound, the order of numbers word for word, padding of zeros."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.panels import padded
from openbei.formats.storage import Storage

SHAPES = [(1, 1), (32, 32), (31, 33), (33, 31), (96, 64), (3, 130), (1,), (32,), (45,)]

every_storage = pytest.mark.parametrize(
    "storage", [Storage(format, layout) for format in FORMATS for layout in LAYOUTS], ids=str
)


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_storage
def test_round_trip(storage: Storage, shape: tuple[int, ...]) -> None:
    given = numbers(shape)
    arrays = storage.store("w", given)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == storage.parts("w", shape)
    assert all(array.flags.c_contiguous for array in arrays.values())
    loaded = storage.load("w", arrays, shape)
    assert loaded.shape == shape
    assert loaded.dtype == np.float32
    assert (np.abs(loaded - given) <= FORMATS[storage.format].error_bound(given)).all()
    again = storage.store("w", loaded)
    assert all(np.array_equal(array, arrays[name]) for name, array in again.items())


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)) | st.tuples(st.integers(1, 70)),
    st.sampled_from(sorted(FORMATS)),
    st.data(),
)
def test_padding_is_zero_and_every_other_number_there_is_found(
    shape: tuple[int, ...], format: str, data: st.DataObject
) -> None:
    storage = Storage(format, "panels")
    arrays = storage.store("w", numbers(shape))
    assert storage.has_zero_padding("w", arrays, shape)
    marks = storage.store("w", np.ones(shape, np.float32))["w"].reshape(-1)
    if padding := np.flatnonzero(marks == 0).tolist():
        arrays["w"].reshape(-1)[data.draw(st.sampled_from(padding))] = 1
        assert not storage.has_zero_padding("w", arrays, shape)


def test_panels_of_float32() -> None:
    given = numbers((40, 50))
    packed = LAYOUTS["panels"].pack(given)
    assert packed.shape == (2, 64, 32)
    for panel, row, column in np.ndindex(packed.shape):
        n, k = 32 * panel + column, row
        assert packed[panel, row, column] == (given[n, k] if n < 40 and k < 50 else 0)


@pytest.mark.parametrize(("dtype", "inputs"), [(np.dtype(ml_dtypes.bfloat16), 2), (np.dtype(np.int8), 4)], ids=str)
def test_panels_of_narrow_elements(dtype: np.dtype, inputs: int) -> None:
    given = (numbers((40, 50)) * 20).astype(dtype)
    packed = LAYOUTS["panels"].pack(given)
    assert packed.shape == (2, 64 // inputs, 32, inputs) == LAYOUTS["panels"].packed_shape((40, 50), dtype)
    for panel, group, column, element in np.ndindex(packed.shape):
        n, k = 32 * panel + column, inputs * group + element
        assert packed[panel, group, column, element] == (given[n, k] if n < 40 and k < 50 else 0)
    assert np.array_equal(LAYOUTS["panels"].unpack(packed, (40, 50)), given)


def test_vectors_are_padded_as_panels_are() -> None:
    assert Storage("float32", "panels").store("b", numbers((45,)))["b"].shape == (padded(45),)
    assert Storage("float32", "row_major").store("b", numbers((45,)))["b"].shape == (45,)


def test_bfloat16_rounds_to_nearest_even() -> None:
    exact, step = 1.0, 2.0**-7
    rounded = {exact + 0.5 * step: 1.0, exact + 1.5 * step: 1 + 2 * step, exact + 0.51 * step: 1 + step}
    encoded = FORMATS["bfloat16"].encode(np.array([list(rounded)], np.float32))
    assert encoded.values.astype(np.float32)[0].tolist() == list(rounded.values())
