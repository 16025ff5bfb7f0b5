"""The section of a report about load: its table, its charts, and when the client was too slow."""

import numpy as np
import pytest

from openbei.load.curves import PERCENTILES, Curve, section
from openbei.load.generator import LoadResult


def result(rate: float, **changes: object) -> LoadResult:
    """1,000 requests with latencies of 0.001 to 1 s, all successful unless changed."""
    fields: dict[str, object] = {
        "offered_rate": rate,
        "achieved_rate": rate / 2,
        "latencies": np.arange(1, 1001) / 1000,
        "outcomes": {"200": 1000},
        "lag": 0.002,
        "cpu": 0.25,
        "num_waits": 0,
    }
    return LoadResult(**(fields | changes))  # type: ignore[arg-type]


def test_one_server() -> None:
    errors = {"200": 990, "429": 8, "timeout": 2}
    one = section([Curve("a", [result(10.0), result(1000.0, outcomes=errors, num_waits=5)])], texts_per_request=2)
    assert one.table.rows == [
        ["a", "10.0", "5.0", "500.00", "900.00", "990.00", "999.00", "0", "2.00", "25%"],
        ["a", "1,000.0", "500.0", "500.00", "900.00", "990.00", "999.00", "429: 8, timeout: 2", "2.00", "25%"],
    ]
    latency, rate = one.charts
    assert [line.name for line in latency.lines] == ["p50", "p90", "p99", "p99.9"]
    for line, expected in zip(latency.lines, (500, 900, 990, 999), strict=True):
        assert line.points == [(10.0, pytest.approx(expected)), (1000.0, pytest.approx(expected))]
    assert [line.points for line in rate.lines] == [[(10.0, 5.0), (1000.0, 500.0)], [(0.0, 0.0), (1000.0, 1000.0)]]
    assert "2 texts each" in rate.x_label
    assert "fast enough at all rates" in one.paragraphs[-1]
    assert "all were in use: a at 1,000.0/s (5)" in one.paragraphs[-1]


def test_several_servers() -> None:
    few = result(20.0, latencies=np.array([0.5]), lag=0.5)
    several = section([Curve("a", [result(10.0)]), Curve("b", [few])], texts_per_request=1)
    median, tail, rate = several.charts
    assert [line.name for line in median.lines] == ["a"]
    assert [line.name for line in tail.lines] == ["a"]
    assert [line.name for line in rate.lines] == ["a", "b", "offered"]
    assert several.table.rows[1][3 : 3 + len(PERCENTILES)] == ["–"] * 4
    assert several.table.rows[1][8] == "500.00 (!)"
    assert "short of CPU time: b at 20.0/s." in several.paragraphs[-1]
