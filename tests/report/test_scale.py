"""Axes: positions, and round ticks that enclose the values."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.report.scale import MAX_TICKS, Scale, short_number


def test_positions() -> None:
    linear = Scale(0.0, 10.0, 100.0, 200.0)
    assert [linear(value) for value in (0, 2.5, 10)] == [100, 125, 200]
    log = Scale(1.0, 100.0, 400.0, 0.0, is_log=True)
    assert [log(value) for value in (1, 10, 100)] == pytest.approx([400, 200, 0])


@pytest.mark.parametrize(
    ("values", "is_log", "ticks"),
    [
        ([3.0, 64.5], False, [0, 10, 20, 30, 40, 50, 60, 70]),
        ([0.0], False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ([12.0, 930.0], True, [10, 20, 50, 100, 200, 500, 1000]),
        ([1.0, 1e6], True, [10.0**i for i in range(7)]),
        ([3.0, 3.0], True, [2, 5]),
        ([], True, [1, 2]),
    ],
)
def test_ticks(values: list[float], is_log: bool, ticks: list[float]) -> None:
    scale = Scale.around(values, 0, 1, is_log=is_log)
    assert scale.ticks() == pytest.approx(ticks)


@settings(max_examples=40)
@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=5), st.booleans())
def test_ticks_enclose_the_values(values: list[float], is_log: bool) -> None:
    scale = Scale.around(values, 0.0, 1.0, is_log=is_log)
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= max(MAX_TICKS, math.ceil(math.log10(scale.high / max(scale.low, 1e-9))) + 1)
    assert ticks == sorted(ticks)
    for value in values:
        assert -1e-9 <= scale(value) <= 1 + 1e-9


def test_short_numbers() -> None:
    values = (0, 0.05, 2.5, 120, 999, 1000, 12_345, 3_400_000, 2e9)
    assert [*map(short_number, values)] == ["0", "0.05", "2.5", "120", "999", "1k", "12.3k", "3.4M", "2G"]
