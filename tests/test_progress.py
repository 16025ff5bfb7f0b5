"""Progress: the rate and the remaining time, in a bar and in lines for a log."""

import pytest

from openbei.progress import Bar, Rate


def test_a_line_has_the_rate_and_the_remaining_time() -> None:
    times = iter([100.0, 108.0, 110.0, 110.0])
    rate = Rate(4096, clock=lambda: next(times))
    assert rate.line(8192, 20_480, "rows") == "8,192 of 20,480 rows, 512 rows/s, 0:00:24 left"
    assert rate.line(9216, None, "rows") == "9,216 rows, 512 rows/s"
    assert rate.line(4096, 5000, "rows") == "4,096 of 5,000 rows, 0 rows/s"


def test_a_bar_has_the_rate(capfd: pytest.CaptureFixture[str]) -> None:
    with Bar(True) as bar:
        bar.step("embed", 10, 100)
        bar.step("embed", 60, 100)
    assert "/s" in capfd.readouterr().err
