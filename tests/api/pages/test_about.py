"""Health, index, models, metrics, and the tables behind them."""

import re
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import openbei
from openbei import errors
from openbei.api.default_route import DEFAULT_PATHS
from openbei.api.exchange import errors as failures
from openbei.api.pages import health
from openbei.api.routes import ROUTES
from openbei.api.routes import served as served_routes
from openbei.batch import Output, PackedBatch, Rows, Vectors
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import Head, TokenHead

from ...small_tokenizer import VOCAB_SIZE
from ..conftest import MAX_TOKENS, Served, Start, small_manifest


def test_index_names_every_route(served: Served) -> None:
    body = served.client.get("/").json()
    assert body["name"] == "openbei"
    assert body["version"] == openbei.__version__
    wanted = {f"{row.method} {row.path}" for row in ROUTES}
    assert set(body["routes"]) == wanted | {f"POST {path}" for path in ("/", *DEFAULT_PATHS)} | {"GET /v1/models/small"}


def test_models(served: Served) -> None:
    body = served.client.get("/v1/models").json()
    assert body["object"] == "list"
    [model] = body["data"]
    assert model["id"] == "small"
    assert model["object"] == "model"
    assert model["created"] > 0


def test_health_sends_a_token_through_the_engine_once(start: Start) -> None:
    served = start(FakeEngine())
    for _ in range(3):
        response = served.client.get("/health")
        assert (response.status_code, response.content) == (200, b"")
    assert served.value("te_batch_next_size_count") == 1


@pytest.mark.parametrize(("head", "output"), [(None, "pooled"), (TokenHead(num_labels=2), "labels")])
def test_health_asks_for_what_the_model_makes(start: Start, head: Head | None, output: Output) -> None:
    class Recording(FakeEngine):
        outputs: list[Output] = []  # noqa: RUF012

        def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
            self.outputs.append(output)
            return super().run(batch, output)

    served = start(Recording(2), manifest=small_manifest(head, labels=("a", "b") if head else ()))
    assert served.client.get("/health").status_code == 200
    assert Recording.outputs == [output]


def test_health_of_a_failing_engine(start: Start) -> None:
    served = start(FakeEngine(failing_token_id=0))
    response = served.client.get("/health")
    assert response.status_code == 503
    assert response.json() == {"error": "the engine does not answer: EngineError", "error_type": "Unhealthy"}


def test_health_of_a_hanging_engine(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(FakeEngine):
        gate = threading.Event()

        def run(self, batch: PackedBatch, output: Output = "pooled") -> Vectors:
            self.gate.wait(20)
            return super().run(batch, output)

    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.05)
    served = start(Hanging())
    assert served.client.get("/health").status_code == 503
    served.await_value("te_queue_size", 0)
    Hanging.gate.set()
    assert served.client.get("/health").status_code == 200


def test_metrics(served: Served) -> None:
    served.embed(input=["w1", "w2 w3"])
    response = served.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert list(text_string_to_metric_families(response.text))
    samples = set(re.findall(r"^(\w+)[ {]", response.text, re.MULTILINE))  # that library renames counters
    assert {
        "te_request_count",
        "te_request_success",
        "te_request_duration_bucket",
        "te_request_tokenization_duration_sum",
        "te_request_queue_duration_sum",
        "te_request_inference_duration_sum",
        "te_request_input_length_sum",
        "te_embed_count",
        "te_embed_success",
        "te_queue_size",
        "te_batch_next_size_bucket",
        "te_batch_next_tokens_sum",
        "openbei_queue_tokens",
        "openbei_truncated_inputs_total",
    } <= samples


def test_every_error_a_request_can_raise_has_a_status() -> None:
    not_for_requests = {
        errors.ConfigError,
        errors.CheckpointError,
        errors.DownloadError,
        errors.EngineDirError,
        errors.BackendError,
        errors.StoreError,
        errors.StoreUnreachableError,
    }
    for kind in vars(errors).values():
        if isinstance(kind, type) and kind is not errors.OpenbeiError and kind not in not_for_requests:
            assert kind in failures.STATUSES


def test_unexpected_exceptions_stay_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    reply = failures.reply(KeyError("/secret/path"))
    assert reply.status == 500
    assert b"secret" not in reply.answer
    assert "/secret/path" in caplog.text


@pytest.mark.parametrize("route", ["/nothing", "/health"])
def test_default_route_must_exist(route: str, tokenizer_path: Path) -> None:
    tokenizer = Tokenizer(tokenizer_path, MAX_TOKENS, VOCAB_SIZE)
    with pytest.raises(errors.ConfigError, match=f"webserver_default_route is {route}, the routes are /v1/embeddings,"):
        served_routes([LoadedModel(small_manifest(default_route=route), tokenizer, FakeEngine())])


@pytest.mark.parametrize(
    ("source", "model_id", "sha"),
    [("HF owner/name 1a2b3c", "owner/name", "1a2b3c"), ("LOCAL /models/a b", "/models/a b", None)],
)
def test_info_says_where_the_model_is_from(source: str, model_id: str, sha: str | None, start: Start) -> None:
    body = start(FakeEngine(), manifest=small_manifest(source=source)).client.get("/info").json()
    assert (body["model_id"], body["model_sha"]) == (model_id, sha)
