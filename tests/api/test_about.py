"""Health, index, models, metrics, the OpenAPI document, and the tables behind them."""

import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import openbei
from openbei import errors
from openbei.api import failures, health
from openbei.api.app import ROUTES, create_app
from openbei.batch import Output, PackedBatch, Vectors
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import QueueLimits, Scheduler
from openbei.serving.tokenizer import Tokenizer

from ..small_tokenizer import VOCAB_SIZE
from .conftest import Served, Start


def test_index_names_every_route(served: Served) -> None:
    body = served.client.get("/").json()
    assert body["name"] == "openbei"
    assert body["version"] == openbei.__version__
    assert set(body["routes"]) == {f"{row.method} {row.path}" for row in ROUTES} | {"POST /"}


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


def test_health_of_a_failing_engine(start: Start) -> None:
    served = start(FakeEngine(failing_token_id=0))
    response = served.client.get("/health")
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "the engine does not answer: EngineError"


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
    samples = {sample.name for family in text_string_to_metric_families(response.text) for sample in family.samples}
    assert {
        "te_request_count", "te_request_success", "te_request_duration_bucket", "te_request_tokenization_duration_sum",
        "te_request_queue_duration_sum", "te_request_inference_duration_sum", "te_request_input_length_sum",
        "te_embed_count", "te_embed_success", "te_queue_size", "te_batch_next_size_bucket", "te_batch_next_tokens_sum",
        "openbei_queue_tokens", "openbei_truncated_inputs",
    } <= samples  # fmt: skip


@pytest.mark.parametrize("path", ["/openapi.json", "/api-doc/openapi.json"])
def test_openapi(served: Served, path: str) -> None:
    document = served.client.get(path).json()
    assert document["openapi"].startswith("3.1")
    paths = {(row.path, row.method.lower()) for row in ROUTES} | {("/", "post")}
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == paths
    embeddings = document["paths"]["/v1/embeddings"]["post"]
    assert set(embeddings["responses"]) == {"200", "400", "408", "413", "422", "429", "500", "503"}
    schemas = document["components"]["schemas"]
    reference = embeddings["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/EmbeddingsRequest"
    assert schemas["EmbeddingsRequest"]["required"] == ["input"]
    assert schemas["EmbeddingsResponse"]["description"]


def test_every_error_a_request_can_raise_has_a_status() -> None:
    not_for_requests = {
        errors.ConfigError, errors.CheckpointError, errors.DownloadError, errors.EngineDirError, errors.BackendError
    }  # fmt: skip
    for kind in vars(errors).values():
        if isinstance(kind, type) and kind is not errors.OpenbeiError and kind not in not_for_requests:
            assert kind in failures.STATUSES


def test_unexpected_exceptions_stay_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    reply = failures.reply(KeyError("/secret/path"))
    assert reply.status == 500
    assert b"secret" not in reply.body
    assert "/secret/path" in caplog.text


def test_default_route_must_exist(tokenizer_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="webserver_default_route is /predict"):
        create_app(
            tokenizer=Tokenizer(tokenizer_path, 8, VOCAB_SIZE),
            scheduler=Scheduler(FakeEngine(), QueueLimits(), Metrics()),
            metrics=Metrics(),
            model_name="small",
            hidden_size=8,
            default_route="/predict",
        )
