"""Each request is counted once, logged once, and nobody's text is in the log."""

import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from openbei.api.exchange.edge import Edge
from openbei.cli.logs import JsonLines
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import SequenceHead

from ...small_tokenizer import words
from ..conftest import FAILING_ID, MAX_TOKENS, Served, Start, small_manifest


def ask(served: Served, i: int) -> int:
    match i % 5:
        case 0:
            response = served.embed(input=[words(i, 3)] * 4)
        case 1:
            response = served.embed(input=words(i, 2 * MAX_TOKENS))
        case 2:
            response = served.embed(input=[])
        case 3:
            response = served.embed(input=words(666, 1))
        case _:
            response = served.client.get(f"/nowhere/{i}")
    return response.status_code


def total(served: Served, name: str) -> float:
    families = [family for family in served.metrics.registry.collect() if family.name == name]
    return sum(sample.value for family in families for sample in family.samples)


def test_counts_are_exact(start: Start) -> None:
    served = start(FakeEngine(failing_token_id=FAILING_ID), QueueLimits(max_batch_tokens=1))  # each text alone
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda i: ask(served, i), range(200)))
    assert [statuses.count(status) for status in (200, 400, 500, 404)] == [80, 40, 40, 40]
    labels = {"route": "/v1/embeddings"}
    assert served.value("openbei_http_requests_total", **labels, status="200") == 80
    assert served.value("openbei_http_requests_total", **labels, status="400") == 40
    assert served.value("openbei_http_requests_total", **labels, status="500") == 40
    assert served.value("openbei_http_requests_total", route="none", status="404") == 40
    assert total(served, "te_request_count") == 160
    assert served.value("te_request_success", method="batch") == 40
    assert served.value("te_request_success", method="single") == 40
    assert served.value("te_request_failure", err="empty") == 40
    assert served.value("te_request_failure", err="inference") == 40
    assert served.value("te_embed_count") == 40 * 4 + 40 + 40
    assert served.value("te_embed_success") == 40 * 4 + 40
    assert served.value("openbei_truncated_inputs_total") == 40
    assert total(served, "te_predict_count") == 0
    for name in ("te_request_duration", "te_embed_queue_duration", "te_request_inference_duration"):
        assert served.value(f"{name}_count") == 80
    assert served.value("openbei_serialization_duration_count") == 80
    assert served.value("openbei_load") == 0


def test_durations_add_up(start: Start) -> None:
    served = start(FakeEngine(delay_s=0.02))
    for _ in range(5):
        served.embed(input="w1")
    stages = ("tokenization", "queue", "inference")
    parts = [served.value(f"te_request_{stage}_duration_sum") for stage in stages]
    assert sum(parts) <= served.value("te_request_duration_sum")
    assert served.value("te_request_inference_duration_sum") >= 0.1


def test_other_models_predict(start: Start) -> None:
    head = SequenceHead(num_labels=2)
    served = start(
        FakeEngine(hidden_size=2), manifest=small_manifest(head, labels=("a", "b"), default_route="/predict")
    )
    assert served.client.post("/predict", json={"inputs": [["w1"], ["w2"]]}).status_code == 200
    assert served.value("te_predict_success") == 2
    assert served.value("te_predict_duration_count") == 1
    assert served.value("te_embed_count") == 0


def test_a_client_that_leaves_is_counted(start: Start) -> None:
    served = start(FakeEngine())
    with socket.create_connection(served.address) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    served.await_value("te_request_failure", 1, err="dropped")
    assert served.value("openbei_http_requests_total", route="/v1/embeddings", status="499") == 1
    assert served.value("te_request_count", method="single") == 1


@pytest.mark.parametrize("logs", [True, False])
def test_access_log(start: Start, caplog: pytest.LogCaptureFixture, logs: bool) -> None:
    served = start(FakeEngine(), edge=Edge(logs_requests=logs))
    with caplog.at_level(logging.INFO, "openbei"):
        body = {"input": ["w1 w2", "w3"]}
        served.client.post("/v1/embeddings?q=hidden", json=body, headers={"x-request-id": "mine"})
        served.client.get("/no%0Awhere?key=hidden")
    records = [record for record in caplog.records if record.name == "openbei.api.exchange.observe"]
    assert len(records) == (2 if logs else 0)
    assert "hidden" not in caplog.text.replace("HTTP Request", "")
    if logs:
        found, missing = records
        assert found.getMessage().startswith("POST /v1/embeddings 200 ")
        assert found.getMessage().endswith(" ms 2 inputs 7 tokens mine")
        line = json.loads(JsonLines().format(found))
        assert line["level"] == "info"
        assert (line["path"], line["status"], line["inputs"], line["request_id"]) == ("/v1/embeddings", 200, 2, "mine")
        assert missing.getMessage().startswith("GET /no%0Awhere 404 ")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a 200 1.0 ms", "a%20200%201.0%20ms"),
        ("2026-01-01 ERROR all is lost", "2026-01-01%20ERROR%20all%20is%20lost"),
        ('"quoted"', "%22quoted%22"),
        ("0f3c-7_a.b:c", "0f3c-7_a.b:c"),
    ],
)
def test_an_id_cannot_forge_a_line(start: Start, caplog: pytest.LogCaptureFixture, sent: str, shown: str) -> None:
    """In text it is one word; JSON has it as it is."""
    served = start(FakeEngine(), edge=Edge(logs_requests=True))
    with caplog.at_level(logging.INFO, "openbei"):
        served.client.get("/health", headers={"x-request-id": sent})
    [record] = [record for record in caplog.records if record.name == "openbei.api.exchange.observe"]
    assert record.getMessage().endswith(f" tokens {shown}")
    assert json.loads(JsonLines().format(record))["request_id"] == sent


def test_a_path_cannot_forge_a_line(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    served = start(FakeEngine(), edge=Edge(logs_requests=True))
    with caplog.at_level(logging.INFO, "openbei"), socket.create_connection(served.address, 20) as connection:
        connection.sendall(b"GET /a\x85b\xe9 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        while connection.recv(65536):
            pass
    assert "\x85" not in caplog.text


def test_an_unexpected_failure_names_its_request(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    served = start(FakeEngine())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokenizer, "encode", broken)
        answer = served.client.post("/v1/embeddings", json={"input": "w1"}, headers={"x-request-id": "mine"})
    assert answer.status_code == 500
    [record] = [record for record in caplog.records if record.name == "openbei.api.exchange.errors"]
    assert json.loads(JsonLines().format(record))["request_id"] == "mine"
    assert record.getMessage() == "request mine failed unexpectedly"
