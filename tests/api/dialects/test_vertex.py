"""POST /vertex: several requests in one, which run together, fail together, and leave together."""

import json
import socket

import pytest

from openbei.api.limits import Limits
from openbei.api.operations import entities
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import TokenHead

from ...small_tokenizer import words
from ..conftest import Start, small_manifest
from ..test_load import GatedEngine
from ..test_routes import start_one


def test_vertex(start: Start) -> None:
    served = start_one(start, "embedding")
    instances = [{"inputs": f"w{i}"} for i in range(9)]
    answer = served.client.post("/vertex", json={"instances": instances})
    assert answer.json()["predictions"] == [served.post("/embed", inputs=f"w{i}") for i in range(9)]
    assert served.refused("/vertex", instances=[]) == (400, "instances is an empty list")
    assert served.refused("/vertex", instances=[{"inputs": "w1"}, {"inputs": ""}]) == (422, "inputs is an empty string")
    assert served.refused("/vertex", instances=[{"inputs": "w1"}, 5])[0] == 422
    assert served.refused("/vertex", instances=[{"inputs": words(666, 1)}])[0] == 500
    cut = served.client.post("/vertex", json={"instances": [{"inputs": words(0, 99)}] * 2})
    assert cut.headers["x-truncated-inputs"] == "2"


def test_a_client_that_leaves_takes_all_instances_with_it(start: Start) -> None:
    engine = GatedEngine()
    served = start(engine, QueueLimits(max_concurrent_requests=5))
    body = json.dumps({"instances": [{"inputs": "w1"}] * 5}).encode()
    for leaving in range(1, 4):
        with socket.create_connection(served.address) as connection:
            connection.sendall(b"POST /vertex HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            served.await_value("te_queue_size", 5)
        served.await_value("te_queue_size", 0)
        served.await_value("openbei_cancelled_requests_total", 5 * leaving)
    engine.gate.set()
    assert len(served.post("/vertex", instances=[{"inputs": "w1"}] * 5)["predictions"]) == 5


def test_one_refused_instance_drops_the_others(start: Start) -> None:
    engine = GatedEngine()
    served = start(engine, QueueLimits(max_concurrent_requests=2))
    assert served.refused("/vertex", instances=[{"inputs": "w1"}] * 3)[0] == 429
    served.await_value("te_queue_size", 0)
    late = served.client.post(
        "/vertex", json={"instances": [{"inputs": "w1"}] * 2}, headers={"request-timeout-ms": "50"}
    )
    assert late.status_code == 408
    served.await_value("te_queue_size", 0)
    engine.gate.set()


def test_instances_share_the_limits_of_a_request(start: Start) -> None:
    """Fifty instances must not ask for fifty times as much as one request may."""
    served = start(FakeEngine(), limits=Limits(max_client_batch_size=6))
    assert len(served.post("/vertex", instances=[{"inputs": ["w1"] * 3}] * 2)["predictions"]) == 2
    status, message = served.refused("/vertex", instances=[{"inputs": ["w1"] * 3}] * 3)
    assert (status, message[:68]) == (422, "the instances have at least 9 texts together; the limit is 6 (send t")
    assert len(served.post("/vertex", instances=[{"inputs": [5, 6, 7, 8]}] * 6)["predictions"]) == 6
    served.await_value("te_queue_size", 0)


def test_answers_about_tokens_share_their_limit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entities, "MAX_ENTITY_NUMBERS", 10 * entities.ENTITY_SIZE)
    manifest = small_manifest(TokenHead(num_labels=2), labels=("O", "B-PER"))
    served = start(FakeEngine(2), manifest=manifest)
    assert len(served.post("/vertex", instances=[{"inputs": "w1 w2 w3"}] * 2)["predictions"]) == 2
    status, message = served.refused("/vertex", instances=[{"inputs": "w1 w2 w3"}] * 3)
    assert (status, message[:20]) == (422, "inputs has 15 tokens")
