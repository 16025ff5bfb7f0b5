"""What the server counts about itself, for Prometheus. Names `te_*` are those of text-embeddings-inference.

Its counters have no `_total` at the end, which prometheus_client adds to every Counter: they are gauges that only rise.
"""

from prometheus_client import CollectorRegistry, Gauge, Histogram

SECONDS = tuple(1.5e-5 * 1.5**i for i in range(35))
TOKENS = tuple(float(2**i) for i in range(18))


class Metrics:
    """All series, in a registry of their own unless one is passed."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.request_count = self._gauge("te_request_count", "Requests received", ["method"])
        self.request_success = self._gauge("te_request_success", "Requests answered", ["method"])
        self.request_failure = self._gauge("te_request_failure", "Requests that failed, by reason", ["err"])
        self.request_duration_s = self._histogram("te_request_duration", "Whole request, seconds", SECONDS)
        self.tokenization_s = self._histogram("te_request_tokenization_duration", "Tokenization, seconds", SECONDS)
        self.queue_s = self._histogram("te_request_queue_duration", "Wait for the first batch, seconds", SECONDS)
        self.inference_s = self._histogram("te_request_inference_duration", "First batch to last, seconds", SECONDS)
        self.input_length = self._histogram("te_request_input_length", "Tokens of an input before truncation", TOKENS)
        self.embed_count = self._gauge("te_embed_count", "Inputs received")
        self.embed_success = self._gauge("te_embed_success", "Inputs embedded")
        self.queue_size = self._gauge("te_queue_size", "Requests admitted and not yet answered")
        self.queue_tokens = self._gauge("openbei_queue_tokens", "Tokens admitted and not yet through the engine")
        self.batch_size = self._histogram("te_batch_next_size", "Sequences in a batch", TOKENS)
        self.batch_tokens = self._histogram("te_batch_next_tokens", "Tokens in a batch", TOKENS)
        self.batch_s = self._histogram("openbei_batch_duration", "One batch in the engine, seconds", SECONDS)
        self.batch_failures = self._gauge("openbei_batch_failure", "Batches that failed in the engine")
        self.tokens_per_s = self._gauge("openbei_engine_tokens_per_s", "What the engine achieves lately")
        self.truncated_inputs = self._gauge("openbei_truncated_inputs", "Inputs that were cut to the model's limit")
        self.cancelled_requests = self._gauge(
            "openbei_cancelled_requests", "Requests whose client left or ran out of time"
        )

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(name, text, labels or [], registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)
