"""Prometheus metrics of the server. Names with `te_` are those of text-embeddings-inference.

TEI's counters have no `_total` suffix, which prometheus_client adds to every Counter. They are therefore
gauges that only increase, and are declared as counters in the output.
"""

import re
from collections.abc import Sequence as Items
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from openbei.batch import Sequence
from openbei.serving.histograms import Histogram
from openbei.spec import Task

SECONDS = tuple(1.5e-5 * 1.5**i for i in range(35))
TOKENS = tuple(float(2**i) for i in range(18))
FRACTIONS = tuple(i / 20 for i in range(1, 21))

STAGES = {
    "duration": "Whole request, seconds",
    "tokenization_duration": "Tokenization, seconds",
    "queue_duration": "Time until the first batch starts, seconds",
    "inference_duration": "Time from first to last batch, seconds",
}
"""Histograms of successful requests; their names follow the prefix of requests or of a task."""

TASKS: dict[Task, str] = {"embedding": "te_embed", "sparse": "te_embed", "late_interaction": "te_embed"}
"""Task -> prefix of its metrics. Other tasks predict, as in TEI."""

PREDICT = "te_predict"


class Metrics:
    """All metrics, by default in a new registry. Those of models have the label `model`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._tei_counters: set[str] = set()
        counter, tei_counter, gauge, histogram = self.counter, self.tei_counter, self.gauge, self.histogram
        self.http_requests = Counter(
            "openbei_http_requests", "HTTP requests, by route and status", ["route", "status"], registry=self.registry
        )
        self.request_count = tei_counter("te_request_count", "Requests for inference", "method")
        self.request_success = tei_counter("te_request_success", "Requests answered", "method")
        self.request_failure = tei_counter("te_request_failure", "Requests that failed, by reason", "err")
        prefixes = ("te_request", "te_embed", PREDICT)
        self.stages = {p: [histogram(f"{p}_{name}", text, SECONDS) for name, text in STAGES.items()] for p in prefixes}
        self.inputs = {p: tei_counter(f"{p}_count", "Inputs received") for p in prefixes[1:]}
        self.inputs_answered = {p: tei_counter(f"{p}_success", "Inputs answered") for p in prefixes[1:]}
        self.serialization_s = histogram("openbei_serialization_duration", "Response serialization, seconds", SECONDS)
        self.input_length = histogram("te_request_input_length", "Tokens of an input before truncation", TOKENS)
        self.truncated_inputs = counter("openbei_truncated_inputs", "Inputs truncated to the model's limit")
        self.cache_hits = counter("openbei_cache_hits", "Distinct inputs of a request that were in the cache")
        self.cache_misses = counter("openbei_cache_misses", "Distinct inputs of a request that were not in the cache")
        self.cache_bytes = gauge("openbei_cache_bytes", "Memory of the cache, bytes")
        self.queue_size = gauge("te_queue_size", "Requests queued or running")
        self.queue_tokens = gauge("openbei_queue_tokens", "Tokens queued or running")
        self.load = gauge("openbei_load", "Estimated seconds to process the queue: queued tokens / tokens per second")
        self.tokens_per_s = gauge("openbei_engine_tokens_per_second", "Recent engine throughput, tokens per second")
        self.batch_size = histogram("te_batch_next_size", "Sequences in a batch", TOKENS)
        self.batch_tokens = histogram("te_batch_next_tokens", "Tokens in a batch", TOKENS)
        self.batch_fill = histogram("openbei_batch_fill", "Tokens in a batch, as a fraction of the limit", FRACTIONS)
        self.batch_s = histogram("openbei_batch_duration", "Engine run of one batch, seconds", SECONDS)
        self.batches = counter("openbei_batches", "Batches that succeeded, by device", "device")
        self.batch_failures = counter("openbei_batch_failures", "Batches that failed in the engine")
        self.retried_batches = counter("openbei_retried_batches", "Batches that ran again because an engine was lost")
        self.engines = gauge("openbei_engines", "Engines that run batches: one for each GPU, unless it was lost")
        self.padding_saved = counter("openbei_padding_saved_tokens", "Padding tokens avoided by packing")
        self.cancelled_requests = counter("openbei_cancelled_requests", "Requests cancelled by disconnect or deadline")

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Create a gauge of models."""
        return Gauge(name, text, ["model", *labels], registry=self.registry)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Create a counter of models. Its name gets the suffix `_total`."""
        return Counter(name, text, ["model", *labels], registry=self.registry)

    def tei_counter(self, name: str, text: str, *labels: str) -> Gauge:
        """Create a counter of models without the suffix."""
        self._tei_counters.add(name)
        return self.gauge(name, text, *labels)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        """Create a histogram of models; `buckets` are upper bounds."""
        return Histogram(name, text, buckets, self.registry)

    def text(self) -> bytes:
        """All series as Prometheus reads them."""

        def declare(line: "re.Match[str]") -> str:
            return f"# TYPE {line[1]} counter" if line[1] in self._tei_counters else line[0]

        return re.sub(r"^# TYPE (\S+) gauge$", declare, generate_latest(self.registry).decode(), flags=re.M).encode()


class RequestMetrics:
    """The metrics of the requests to one model: the series with its name. Without `task`, none of a task.

    Counts are plain numbers, which only the event loop changes; Prometheus reads them.
    """

    def __init__(self, metrics: Metrics, model: str, task: Task | None = None) -> None:
        self._request_failure, self._model = metrics.request_failure, model
        self._num_requests = [0, 0]
        self._num_answered = [0, 0]
        self._num_inputs = self._num_inputs_answered = 0
        for i, method in enumerate(("single", "batch")):
            metrics.request_count.labels(model, method).set_function(partial(self._num_requests.__getitem__, i))
            metrics.request_success.labels(model, method).set_function(partial(self._num_answered.__getitem__, i))
        self._stages = [stage.of_model(model) for stage in metrics.stages["te_request"]]
        if task:
            prefix = TASKS.get(task, PREDICT)
            metrics.inputs[prefix].labels(model).set_function(lambda: self._num_inputs)
            metrics.inputs_answered[prefix].labels(model).set_function(lambda: self._num_inputs_answered)
            for stage, observations in zip(metrics.stages[prefix], self._stages, strict=True):
                stage.share(model, observations)
        self._serialization_s = metrics.serialization_s.of_model(model)
        self._truncated_inputs = metrics.truncated_inputs.labels(model)

    def observe_request(self, num_inputs: int, num_truncated: int, failure: str | None) -> None:
        """Count a request for inference; `failure` is None after success."""
        method = num_inputs > 1
        self._num_requests[method] += 1
        self._num_inputs += num_inputs
        if num_truncated:
            self._truncated_inputs.inc(num_truncated)
        if failure:
            self._request_failure.labels(self._model, failure).inc()
            return
        self._num_answered[method] += 1
        self._num_inputs_answered += num_inputs

    def observe_times(self, serialization_s: float, *stages_s: float) -> None:
        """Record the times of a successful request; `stages_s` are those of STAGES."""
        self._serialization_s.observe(serialization_s)
        for stage, seconds in zip(self._stages, stages_s, strict=True):
            stage.observe(seconds)


class ModelMetrics(RequestMetrics):
    """The metrics of one model: also those of its queue and its batches."""

    def __init__(self, metrics: Metrics, model: str, task: Task) -> None:
        super().__init__(metrics, model, task)
        self._input_length = metrics.input_length.of_model(model)
        self._batch_size = metrics.batch_size.of_model(model)
        self._batch_tokens = metrics.batch_tokens.of_model(model)
        self._batch_fill = metrics.batch_fill.of_model(model)
        self._batch_s = metrics.batch_s.of_model(model)
        self._padding_saved = metrics.padding_saved.labels(model)
        self.cache_hits = metrics.cache_hits.labels(model)
        self.cache_misses = metrics.cache_misses.labels(model)
        self.cache_bytes = metrics.cache_bytes.labels(model)
        self.queue_size = metrics.queue_size.labels(model)
        self.queue_tokens = metrics.queue_tokens.labels(model)
        self.load = metrics.load.labels(model)
        self.tokens_per_s = metrics.tokens_per_s.labels(model)
        self._batches, self._name = metrics.batches, model
        self.batch_failures = metrics.batch_failures.labels(model)
        self.retried_batches = metrics.retried_batches.labels(model)
        self.engines = metrics.engines.labels(model)
        self.cancelled_requests = metrics.cancelled_requests.labels(model)

    def observe_batch(self, sequences: Items[Sequence], max_batch_tokens: int, seconds: float, device: str) -> None:
        """Record a successful batch of an engine on `device`."""
        self._batches.labels(self._name, device).inc()
        lengths = [sequence.num_tokens for sequence in sequences]
        num_tokens = sum(lengths)
        self._batch_size.observe(len(lengths))
        self._batch_tokens.observe(num_tokens)
        self._batch_fill.observe(num_tokens / max_batch_tokens)
        self._batch_s.observe(seconds)
        if num_saved := max(lengths) * len(lengths) - num_tokens:
            self._padding_saved.inc(num_saved)
        for sequence in sequences:
            self._input_length.observe(sequence.num_tokens_given)
