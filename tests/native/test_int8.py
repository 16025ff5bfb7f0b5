"""Products in 8-bit integers: exact sums and exact quantization on every level, whatever the shape."""

from typing import Any

import numpy as np
import pytest

from openbei.formats.panels import padded
from openbei.formats.smooth_int8 import GROUP, quantized_inputs
from openbei.formats.storage import Storage
from tests.native.kernels import Array, Doubles, Level, WeightFormat, check
from tests.native.test_quantized import SHAPES, run

WIDE = [*SHAPES, (3, 127, 33), (2, 128, 64), (7, 129, 31), (129, 160, 32), (4, 1000, 40), (300, 40, 33)]


@pytest.fixture
def level(level: Level) -> Level:
    if level.dtype != "bfloat16":
        pytest.skip("only engines in bfloat16 have quantized weights")
    return level


def arrays_of(numbers: Doubles, smoothing: Array | None = None) -> tuple[dict[str, Any], Doubles]:
    """The fields of LinearArgs for a weight [N, K], and its decoded numbers."""
    storage = Storage("smooth_int8", "panels")
    magnitudes = None if smoothing is None else np.abs(numbers).max(axis=0) / smoothing**2
    arrays = storage.store("w", numbers.astype(np.float32), magnitudes)
    fields = {
        "format": WeightFormat.smooth_int8,
        "weight": arrays["w"],
        "scales": arrays["w.scale"],
        "scale_stride": arrays["w.scale"].shape[1],
        "smoothing": arrays["w.smoothing"],
    }
    return fields, storage.load("w", arrays, numbers.shape).astype(np.float64)


def integers(rng: np.random.Generator, num_rows: int, num_columns: int) -> Doubles:
    """Integers from -127 to 127, with 127 in each group of each row, so that all scales are 1."""
    numbers = rng.integers(-127, 128, size=(num_rows, num_columns)).astype(np.float64)
    numbers[:, ::GROUP] = 127
    return numbers


@pytest.mark.parametrize("shape", WIDE, ids=str)
def test_sums_are_exact(shape: tuple[int, int, int], level: Level) -> None:
    """Integers up to 127 with scales of 1 have exact products, so that float32 sums below 2^24 are exact, too."""
    num_rows, num_inputs, num_outputs = shape
    rng = np.random.default_rng(5)
    x, weight = integers(rng, num_rows, num_inputs), integers(rng, num_outputs, num_inputs)
    fields, _ = arrays_of(weight)
    expected = x @ weight.T
    assert np.abs(expected).max() < 2**24
    assert np.array_equal(run(level, x, fields, np.zeros(num_outputs, np.float32), num_outputs), expected)


@pytest.mark.parametrize("sign", [1, -1])
def test_largest_sums(sign: int, level: Level) -> None:
    """No intermediate result saturates."""
    x, weight = np.full((2, GROUP), 127.0), np.full((33, GROUP), sign * 127.0)
    found = run(level, x, arrays_of(weight)[0], np.zeros(33, np.float32), 33)
    assert np.array_equal(found, np.full((2, 33), sign * GROUP * 127.0**2))


def test_rows_are_rounded_to_even(level: Level) -> None:
    """Every multiple of a quarter up to 127, by a weight that is the identity."""
    x = np.arange(-127, 127.25, 0.25)
    x = level.stored(np.concatenate([x, np.zeros(-len(x) % (GROUP - 1))]).reshape(-1, GROUP - 1))
    x = np.concatenate([x, np.full((len(x), 1), 127.0)], axis=1)
    fields, _ = arrays_of(127 * np.eye(GROUP))
    fields["scales"] = np.full_like(fields["scales"], 1 / 127)
    found = run(level, x, fields, np.zeros(GROUP, np.float32), GROUP)
    np.testing.assert_allclose(found, np.rint(x), rtol=2.0**-22)


@pytest.mark.parametrize("shape", WIDE, ids=str)
def test_products(shape: tuple[int, int, int], level: Level) -> None:
    """With smoothing, against the reference's quantization. A row's results do not depend on the rows around it."""
    num_rows, num_inputs, num_outputs = shape
    rng = np.random.default_rng(6)
    smoothing = np.exp(rng.normal(size=num_inputs)).astype(np.float32)
    fields, weight = arrays_of(rng.normal(size=(num_outputs, num_inputs)), smoothing)
    x = level.stored(rng.normal(size=(num_rows, num_inputs)) / smoothing)
    bias = rng.normal(size=num_outputs).astype(np.float32)
    inputs = quantized_inputs(x.astype(np.float32), fields["smoothing"][:num_inputs]).astype(np.float64)
    magnitudes = np.abs(inputs) @ np.abs(weight).T + np.abs(bias)
    found = run(level, x, fields, bias, num_outputs)
    check(found, inputs @ weight.T + bias, magnitudes * 40 * 2.0**-24)
    assert np.array_equal(run(level, x[-1:], fields, bias, num_outputs), found[-1:])
    if num_outputs > 32:
        assert np.array_equal(run(level, x, fields, bias, num_outputs, begin=1), found[:, 32:])


def test_rows_without_numbers(level: Level) -> None:
    """Zeros, and numbers whose scale would be too small to divide by, count as zero; others keep their precision."""
    x = level.stored(np.array([[0.0] * 32, [1e-33] * 32, [1e-25] * 32, [1e30] * 32]))
    fields, _ = arrays_of(np.eye(32))
    found = run(level, x, fields, np.full(32, 0.5, np.float32), 32)
    assert np.array_equal(found[:2], np.full((2, 32), 0.5))
    assert np.array_equal(found[2], np.full(32, 0.5))
    np.testing.assert_allclose(found[3], x[3], rtol=0.005)


def test_padding_of_rows_is_not_read_as_numbers(level: Level) -> None:
    """Numbers beyond the inputs of a row, which kernels may read, change neither its scales nor its sums."""
    x, weight = level.stored(np.full((1, 5), 0.25)), np.ones((3, 5))
    fields, _ = arrays_of(weight)
    assert padded(5) > 5
    np.testing.assert_allclose(run(level, x, fields, np.zeros(3, np.float32), 3), [[1.25] * 3], rtol=1e-6)
