"""Metrics of several processes: sums, and what remains of a process that has ended."""

from prometheus_client.parser import text_string_to_metric_families

from openbei.serving.fronts.exposition import counters, merged
from openbei.serving.metrics import Metrics, ModelMetrics


def process(*statuses: int, queue_size: int = 0) -> bytes:
    """The metrics of a process that has answered requests."""
    metrics = Metrics()
    model = ModelMetrics(metrics, 'a "model" # of ours', "embedding")
    for status in statuses:
        metrics.http_requests.labels("/a route", status).inc()
        model.observe_request(1, 0, None)
        model.observe_times(0.5, 0.1, 0.1, 0.1, 0.1)
    model.queue_size.set(queue_size)
    return metrics.text()


def values(text: bytes) -> dict[str, float]:
    """The value of each series. Prometheus's parser must read the text, and finds each metric once."""
    names = [family.name for family in text_string_to_metric_families(text.decode())]
    assert len(set(names)) == len(names)
    lines = [line.rsplit(" ", 1) for line in text.decode().splitlines() if not line.startswith("#")]
    assert len(dict(lines)) == len(lines)
    return {series: float(value) for series, value in lines}


def test_one_process_is_unchanged() -> None:
    text = process(200, 503)
    assert merged([text]) == text
    assert merged([b"", text, b""]) == text


def test_sums() -> None:
    parts = [process(200, 200, queue_size=2), process(200, 404, queue_size=3), process()]
    each = [values(part) for part in parts]
    total = values(merged(parts))
    assert total.keys() == set().union(*each)
    for series, value in total.items():
        found = [one[series] for one in each if series in one]
        assert value == (min(found) if "_created{" in series else sum(found)), series
    assert total['openbei_http_requests_total{route="/a route",status="200"}'] == 3


def test_counters_outlive_their_process() -> None:
    names = {series.partition("{")[0] for series in values(counters(process(200, queue_size=2)))}
    assert {"openbei_http_requests_total", "te_request_count", "te_request_duration_bucket"} <= names
    assert not names & {"te_queue_size", "openbei_cache_bytes"}
