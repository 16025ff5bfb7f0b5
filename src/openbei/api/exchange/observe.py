"""Per-request metrics, access log and spans. Each request is recorded once, when it is over."""

import logging
from dataclasses import dataclass
from functools import cache
from urllib.parse import quote

from openbei.api.exchange.call import Measured
from openbei.api.exchange.tracing import Tracer
from openbei.serving.metrics import Metrics, RequestMetrics

log = logging.getLogger(__name__)

NO_ROUTE = "none"
"""The metrics label of unknown paths, whose number is not limited."""

NO_MODEL = "none"
"""The metrics label of requests that fail before one of several models is chosen."""

DROPPED = 499
"""The status of a request whose client disconnected before the response, as in nginx."""


@dataclass(slots=True)
class Outcome:
    """The outcome of a request.

    `route` is a path of the table, `path` the client's path, percent-encoded and without query. `model` is the name of
    the model that was chosen, or None. `failure` is the error's code, None after success. Times are in seconds.
    """

    method: str
    route: str
    path: str
    request_id: str
    model: str | None
    status: int
    failure: str | None
    duration_s: float
    serialization_s: float
    measured: Measured

    @property
    def is_inference(self) -> bool:
        """Whether the request counts as inference, like every POST to a route."""
        return self.method == "POST" and self.route != NO_ROUTE


class Observer:
    """Records requests."""

    def __init__(self, metrics: Metrics, *, logs: bool = False, tracer: Tracer | None = None) -> None:
        self._http_requests = cache(metrics.http_requests.labels)
        self._logs = logs
        self._tracer = tracer

    def record(self, outcome: Outcome, metrics: RequestMetrics, headers: dict[bytes, bytes]) -> None:
        """Record a request, in the metrics of its model; `headers` are the request's."""
        self._http_requests(outcome.route, outcome.status).inc()
        if outcome.is_inference:
            _count(outcome, metrics)
            if self._tracer:
                self._tracer.record(f"POST {outcome.route}", attributes(outcome), outcome.duration_s, headers)
        if self._logs:
            line = "%(method)s %(path)s %(status)d %(ms).1f ms %(inputs)d inputs %(tokens)d tokens %(request_id)s"
            fields = log_fields(outcome)
            shown = {**fields, "path": quoted(outcome.path), "request_id": quoted(outcome.request_id)}
            log.info(line, shown, extra={"fields": fields})


def _count(outcome: Outcome, metrics: RequestMetrics) -> None:
    measured = outcome.measured
    metrics.observe_request(measured.num_inputs, measured.num_truncated, outcome.failure)
    if outcome.failure is None:
        metrics.observe_times(
            outcome.serialization_s,
            outcome.duration_s,
            measured.tokenization_s,
            measured.queue_s,
            measured.inference_s,
        )


def quoted(text: str) -> str:
    """Percent-encode client input, so that it cannot forge a log line."""
    return quote(text, safe="!$%&'()*+,/:;=?@[]|")


def log_fields(outcome: Outcome) -> dict[str, str | int | float]:
    """The access log's fields. No text, no key, no query."""
    return {
        "method": outcome.method,
        "path": outcome.path,
        "status": outcome.status,
        "ms": round(outcome.duration_s * 1000, 3),
        "inputs": outcome.measured.num_inputs,
        "tokens": outcome.measured.num_tokens,
        "request_id": outcome.request_id,
    }


def attributes(outcome: Outcome) -> dict[str, str | int | float]:
    """The attributes of a span, with names of OpenTelemetry's conventions where they exist."""
    measured = outcome.measured
    values: dict[str, str | int | float] = {
        "http.request.method": outcome.method,
        "http.route": outcome.route,
        "http.response.status_code": outcome.status,
        "openbei.request_id": outcome.request_id,
        "openbei.inputs": measured.num_inputs,
        "openbei.tokens": measured.num_tokens,
        "openbei.tokenization_ms": measured.tokenization_s * 1000,
        "openbei.queue_ms": measured.queue_s * 1000,
        "openbei.inference_ms": measured.inference_s * 1000,
    }
    values |= {"openbei.model": outcome.model} if outcome.model else {}
    return values | {"error.type": outcome.failure} if outcome.failure else values
