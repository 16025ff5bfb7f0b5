"""Spans as a collector gets them: a real HTTP server that reads real protobuf."""

import gzip
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from openbei.api.exchange.edge import Edge
from openbei.api.exchange.tracing import Tracer
from openbei.errors import ConfigError
from openbei.serving.fake_engine import FakeEngine

from ...small_tokenizer import words
from ..conftest import FAILING_ID, Start

service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")

PARENT_TRACE, PARENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths: list[str] = []
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Collector)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = service.ExportTraceServiceRequest.FromString(body)
        self.server.paths.append(self.path)
        for resource in request.resource_spans:
            self.server.resources.append(values(resource.resource.attributes))
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


def values(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_reach_a_collector(start: Start, collector: Collector) -> None:
    tracer = Tracer(collector.url, "1.2.3")
    served = start(FakeEngine(delay_s=0.01, failing_token_id=FAILING_ID), edge=Edge(tracer=tracer))
    parent = {"traceparent": f"00-{PARENT_TRACE}-{PARENT_SPAN}-01", "x-request-id": "mine"}
    served.client.post("/v1/embeddings", json={"input": [words(1, 3), words(2, 3)]}, headers=parent)
    served.embed(input=words(666, 1))
    served.client.get("/health")
    served.client.post("/v1/embeddings", json={"input": "w1"}, headers={"traceparent": "nonsense"})
    tracer.close()
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.resources[0]["service.name"] == "openbei"
    assert collector.resources[0]["service.version"] == "1.2.3"
    child, failed, alone = collector.spans
    assert (child.trace_id.hex(), child.parent_span_id.hex()) == (PARENT_TRACE, PARENT_SPAN)
    assert child.name == "POST /v1/embeddings"
    attributes = values(child.attributes)
    assert attributes["http.response.status_code"] == 200
    assert attributes["http.route"] == "/v1/embeddings"
    assert attributes["openbei.request_id"] == "mine"
    assert (attributes["openbei.inputs"], attributes["openbei.tokens"]) == (2, 10)
    took_ms = (child.end_time_unix_nano - child.start_time_unix_nano) / 1e6
    assert 10 <= attributes["openbei.inference_ms"] <= took_ms
    assert values(failed.attributes)["error.type"] == "inference"
    assert failed.status.code == 2
    assert alone.parent_span_id == b""


def test_a_full_path_is_taken_as_it_is(collector: Collector) -> None:
    tracer = Tracer(f"{collector.url}/v1/traces", "1")
    tracer.record("POST /", {}, 0.1, {})
    tracer.close()
    assert collector.paths == ["/v1/traces"]


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"not installed") as error:
        Tracer("http://127.0.0.1:1", "1")
    assert error.value.hint == "pip install 'openbei[otel]'"
