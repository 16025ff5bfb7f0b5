"""Prometheus metrics of the server. Names with `te_` are those of text-embeddings-inference.

TEI's counters have no `_total` suffix, which prometheus_client adds to every Counter. They are therefore
gauges that only increase, and are declared as counters in the output.
"""

import re
from collections.abc import Sequence as Items

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from openbei.batch import Sequence

SECONDS = tuple(1.5e-5 * 1.5**i for i in range(35))
TOKENS = tuple(float(2**i) for i in range(18))
FRACTIONS = tuple(i / 20 for i in range(1, 21))


class StageMetrics:
    """Durations of successful requests, by stage."""

    def __init__(self, metrics: "Metrics", prefix: str) -> None:
        def histogram(name: str, text: str) -> Histogram:
            return metrics.histogram(f"{prefix}_{name}", text, SECONDS)

        self.duration_s = histogram("duration", "Whole request, seconds")
        self.tokenization_s = histogram("tokenization_duration", "Tokenization, seconds")
        self.queue_s = histogram("queue_duration", "Time until the first batch starts, seconds")
        self.inference_s = histogram("inference_duration", "Time from first to last batch, seconds")

    def observe(self, duration_s: float, tokenization_s: float, queue_s: float, inference_s: float) -> None:
        """Record a request."""
        self.duration_s.observe(duration_s)
        self.tokenization_s.observe(tokenization_s)
        self.queue_s.observe(queue_s)
        self.inference_s.observe(inference_s)


class TaskMetrics(StageMetrics):
    """Durations and input counts of a task."""

    def __init__(self, metrics: "Metrics", prefix: str) -> None:
        super().__init__(metrics, prefix)
        self.count = metrics.tei_counter(f"{prefix}_count", "Inputs received")
        self.success = metrics.tei_counter(f"{prefix}_success", "Inputs answered")


class Metrics:
    """All metrics, by default in a new registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._tei_counters: set[str] = set()
        counter, tei_counter, gauge, histogram = self.counter, self.tei_counter, self.gauge, self.histogram
        self.http_requests = counter("openbei_http_requests", "HTTP requests, by route and status", ["route", "status"])
        self.request_count = tei_counter("te_request_count", "Requests for inference", ["method"])
        self.request_success = tei_counter("te_request_success", "Requests answered", ["method"])
        self.request_failure = tei_counter("te_request_failure", "Requests that failed, by reason", ["err"])
        self.request = StageMetrics(self, "te_request")
        self.embed = TaskMetrics(self, "te_embed")
        self.predict = TaskMetrics(self, "te_predict")
        self.serialization_s = histogram("openbei_serialization_duration", "Response serialization, seconds", SECONDS)
        self.input_length = histogram("te_request_input_length", "Tokens of an input before truncation", TOKENS)
        self.truncated_inputs = counter("openbei_truncated_inputs", "Inputs truncated to the model's limit")
        self.queue_size = gauge("te_queue_size", "Requests queued or running")
        self.queue_tokens = gauge("openbei_queue_tokens", "Tokens queued or running")
        self.load = gauge("openbei_load", "Estimated seconds to process the queue: queued tokens / tokens per second")
        self.tokens_per_s = gauge("openbei_engine_tokens_per_second", "Recent engine throughput, tokens per second")
        self.batch_size = histogram("te_batch_next_size", "Sequences in a batch", TOKENS)
        self.batch_tokens = histogram("te_batch_next_tokens", "Tokens in a batch", TOKENS)
        self.batch_fill = histogram("openbei_batch_fill", "Tokens in a batch, as a fraction of the limit", FRACTIONS)
        self.batch_s = histogram("openbei_batch_duration", "Engine run of one batch, seconds", SECONDS)
        self.batch_failures = counter("openbei_batch_failures", "Batches that failed in the engine")
        self.padding_saved = counter("openbei_padding_saved_tokens", "Padding tokens avoided by packing")
        self.cancelled_requests = counter("openbei_cancelled_requests", "Requests cancelled by disconnect or deadline")

    def gauge(self, name: str, text: str, labels: Items[str] = ()) -> Gauge:
        """Create a gauge."""
        return Gauge(name, text, labels, registry=self.registry)

    def counter(self, name: str, text: str, labels: Items[str] = ()) -> Counter:
        """Create a counter. Its name gets the suffix `_total`."""
        return Counter(name, text, labels, registry=self.registry)

    def tei_counter(self, name: str, text: str, labels: Items[str] = ()) -> Gauge:
        """Create a counter without the suffix."""
        self._tei_counters.add(name)
        return self.gauge(name, text, labels)

    def text(self) -> bytes:
        """All series as Prometheus reads them."""

        def declare(line: "re.Match[str]") -> str:
            return f"# TYPE {line[1]} counter" if line[1] in self._tei_counters else line[0]

        return re.sub(r"^# TYPE (\S+) gauge$", declare, generate_latest(self.registry).decode(), flags=re.M).encode()

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        """Create a histogram; `buckets` are upper bounds."""
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def observe_batch(self, sequences: Items[Sequence], max_batch_tokens: int, seconds: float) -> None:
        """Record a successful batch."""
        lengths = [sequence.num_tokens for sequence in sequences]
        num_tokens = sum(lengths)
        self.batch_size.observe(len(lengths))
        self.batch_tokens.observe(num_tokens)
        self.batch_fill.observe(num_tokens / max_batch_tokens)
        self.batch_s.observe(seconds)
        self.padding_saved.inc(max(lengths) * len(lengths) - num_tokens)
        for sequence in sequences:
            self.input_length.observe(sequence.num_tokens_given)
