"""Spans for an OpenTelemetry collector, over OTLP/HTTP. The libraries are an extra, imported only if enabled.

They read the OTEL_* environment variables: headers for the collector, limits, and resource attributes.
"""

import time
from collections.abc import Mapping

from openbei.errors import ConfigError

Attributes = Mapping[str, str | int | float]


class Tracer:
    """Sends spans to a collector from a background thread. If the collector is unavailable, it logs an error."""

    def __init__(self, endpoint: str, version: str) -> None:
        """`endpoint` is the collector's base URL. Raises ConfigError if the libraries are not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ConfigError(
                f"tracing needs a library that is not installed: {error.name}", hint="pip install 'openbei[otel]'"
            ) from None
        url = endpoint.rstrip("/")
        exporter = OTLPSpanExporter(endpoint=url if url.endswith("/v1/traces") else f"{url}/v1/traces")
        resource = Resource.create({"service.name": "openbei", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("openbei", version)
        self._propagator = TraceContextTextMapPropagator()

    def record(self, name: str, attributes: Attributes, duration_s: float, headers: dict[bytes, bytes]) -> None:
        """Record a server span that ends now; its parent is the `traceparent` of the request's headers, if any."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        carrier = {
            key: headers[key.encode()].decode("latin-1")
            for key in ("traceparent", "tracestate")
            if key.encode() in headers
        }
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            name,
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
            start_time=end_ns - int(duration_s * 1e9),
        )
        if int(attributes.get("http.response.status_code", 0)) >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_ns)

    def close(self) -> None:
        """Send the remaining spans. Blocks until the collector has them, at most for the exporter's timeout."""
        self._provider.shutdown()
