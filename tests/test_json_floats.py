"""Round trips of float32 through JSON are exact, with and without the compiled module."""

import json
from collections.abc import Callable

import numpy as np
import pytest

from openbei.batch import Vectors
from openbei.json_floats import json_row, numpy_json_row

Write = Callable[[Vectors], bytes]
every_writer = pytest.mark.parametrize("write", [json_row, numpy_json_row], ids=["default", "numpy"])

RNG = np.random.default_rng(7)


def finite(bits: np.ndarray) -> Vectors:
    numbers = bits.astype(np.uint32).view(np.float32)
    return numbers[np.isfinite(numbers)]


def around_powers_of_ten() -> Vectors:
    powers = np.array([float(f"1e{i}") for i in range(-45, 39)], np.float32).view(np.uint32).astype(np.int64)
    near = (powers[:, None] + np.arange(-300, 301)).ravel()
    return finite(np.concatenate([near[near >= 0], near[near >= 0] | 1 << 31]))


NUMBERS = {
    "random bits": finite(RNG.integers(0, 2**32, 2_000_000)),
    "subnormal": finite(np.concatenate([np.arange(50_000), RNG.integers(0, 2**23, 50_000)])),
    "around powers of ten": around_powers_of_ten(),
    "around powers of two": finite(np.array([(e << 23) + d for e in range(1, 255) for d in range(-20, 21)])),
    "embeddings": (RNG.standard_normal(200_000) / 32).astype(np.float32),
    "decimals": np.concatenate([np.arange(50_000) / 1000, np.arange(-99, 99), 10.0 ** np.arange(-9, 12)]).astype("f4"),
    "nothing": np.empty(0, np.float32),
}


@every_writer
@pytest.mark.parametrize("numbers", NUMBERS.values(), ids=list(NUMBERS))
def test_reads_back_as_the_same_bits(write: Write, numbers: Vectors) -> None:
    read = np.array(json.loads(write(numbers)), np.float64)
    np.testing.assert_array_equal(read.astype(np.float32).view(np.uint32), numbers.view(np.uint32))


@every_writer
def test_numbers_stay_numbers_with_a_point(write: Write) -> None:
    row = json.loads(write(np.array([0, -0.0, 1, -12, 1e8, 123456.5, 3e38, 1e-45], np.float32)))
    assert all(type(number) is float for number in row)
    assert str(row[1]) == "-0.0"


@every_writer
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say(write: Write, bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        write(np.array([1.0, bad], np.float32))


def test_text_is_not_longer_than_it_must_be() -> None:
    row = np.array([0.5, 0.25, 1.0, -2.0, 0.001, 100.0], np.float32)
    assert len(json_row(row)) <= len("[0.5,0.25,1.0,-2.0,0.00100000005,100.0]")
