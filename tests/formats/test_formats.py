"""Every format in every layout: round trip within its bound, the order of numbers word for word, padding of zeros."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.formats import FORMATS, LAYOUTS
from openbei.formats.panels import padded
from openbei.formats.storage import Storage
from openbei.formats.unscaled import Unscaled

SHAPES = [(1, 1), (32, 32), (31, 33), (33, 31), (96, 64), (3, 130), (1,), (32,), (45,)]

every_storage = pytest.mark.parametrize(
    "storage", [Storage(format, layout) for format in FORMATS for layout in LAYOUTS], ids=str
)


def numbers(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def is_quantized(format: str) -> bool:
    """Quantized formats are only for weights, which have two axes."""
    return not isinstance(FORMATS[format], Unscaled)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_storage
def test_round_trip(storage: Storage, shape: tuple[int, ...]) -> None:
    if is_quantized(storage.format) and len(shape) == 1:
        pytest.skip("a vector is not quantized")
    given = numbers(shape)
    arrays = storage.store("w", given)
    assert {name: (array.shape, array.dtype) for name, array in arrays.items()} == storage.parts("w", shape)
    assert all(array.flags.c_contiguous for array in arrays.values())
    loaded = storage.load("w", arrays, shape)
    assert loaded.shape == shape
    assert loaded.dtype == np.float32
    assert (np.abs(loaded - given) <= FORMATS[storage.format].error_bound(given)).all()
    again = storage.load("w", storage.store("w", loaded), shape)
    assert np.allclose(again, loaded, rtol=1e-6, atol=0)


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
    shape = (*shape, 1)[:2] if is_quantized(format) else shape
    arrays = storage.store("w", numbers(shape))
    assert storage.has_zero_padding("w", arrays, shape)
    for name, marks in storage.store("w", np.ones(shape, np.float32)).items():
        if padding := np.flatnonzero(marks.reshape(-1).astype(np.float32) == 0).tolist():
            changed = {**arrays, name: arrays[name].copy()}
            changed[name].reshape(-1)[data.draw(st.sampled_from(padding))] = 1
            assert not storage.has_zero_padding("w", changed, shape)


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


def test_int8_rounds_to_nearest() -> None:
    encoded = FORMATS["int8"].encode(np.array([[127, -127, 1.4, -1.6, 0], [0, 0, 0, 0, 0]], np.float32))
    assert encoded.values.tolist() == [[127, -127, 1, -2, 0], [0] * 5]
    assert encoded.scales["scale"].tolist() == [1, 1]


def test_float8_keeps_its_own_numbers() -> None:
    """All finite numbers of e4m3, subnormal ones too, if the largest of a row is 448."""
    codes = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn)
    finite = codes[np.isfinite(codes.astype(np.float32))]
    encoded = FORMATS["float8"].encode(finite.astype(np.float32)[None])
    assert np.array_equal(encoded.values[0].view(np.uint8), finite.view(np.uint8))


def test_nvfp4_by_hand() -> None:
    """The largest magnitude of a block becomes 6, and ties go to the even number."""
    block = [6, -6, 3, 2, 1.5, 1, 0.5, 0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, -0.2]
    rounded = [6, -6, 3, 2, 1.5, 1, 0.5, 0, 0, 1, 1, 2, 2, 4, 4, 0]
    weights = np.array([[448 * x for x in block] + [2 * x for x in block]], np.float32)
    nvfp4 = FORMATS["nvfp4"]
    encoded = nvfp4.encode(weights)
    assert encoded.scales["scale"].tolist() == [1]
    assert encoded.scales["block_scale"].astype(np.float32).tolist() == [[448], [2]]
    assert nvfp4.decode(encoded, weights.shape).tolist() == [[448 * x for x in rounded] + [2 * x for x in rounded]]


def test_smooth_int8_by_hand() -> None:
    """Groups of 128 inputs have their own scales; smoothing divides weights, and is undone by decoding."""
    weights = np.zeros((2, 130), np.float32)
    weights[0, 0], weights[0, 129], weights[1, 1] = 127, -254, 3
    smooth = FORMATS["smooth_int8"]
    encoded = smooth.encode(weights)
    assert encoded.scales["scale"].tolist() == [[1, np.float32(3) / np.float32(127)], [2, 1]]
    assert (encoded.values[0, 0], encoded.values[0, 129], encoded.values[1, 1]) == (127, -127, 127)
    magnitudes = np.full(130, 127, np.float32)
    magnitudes[0] = 127 / 4
    smoothed = smooth.encode(np.full((1, 130), 127, np.float32), magnitudes)
    assert smoothed.scales["smoothing"][:2].tolist() == [2, 1]
    assert smoothed.values[0, :3].tolist() == [64, 127, 127]
    assert smooth.decode(smoothed, (1, 130))[0, :2].tolist() == [128, 127]


def test_smoothing_of_inputs_that_calibration_did_not_see() -> None:
    """They count as a hundredth of the largest input, so that they do not drown others when they occur."""
    smoothing = FORMATS["smooth_int8"].encode(np.ones((1, 3), np.float32), np.array([4, 0, 1e-9], np.float32))
    assert smoothing.scales["smoothing"].tolist() == pytest.approx([0.5, 5, 5])
