"""More than the server can take, clients that leave, an engine that fails."""

import json
import math
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from openbei.batch import Output, PackedBatch, Vectors
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits

from ..small_tokenizer import ids, words
from .conftest import FAILING_ID, Start


class GatedEngine(FakeEngine):
    """Runs batches only while the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Vectors:
        self.gate.wait(20)
        return super().run(batch, output)


def test_overload_refuses_and_recovers(start: Start) -> None:
    served = start(FakeEngine(delay_s=0.02), QueueLimits(max_concurrent_requests=4))

    def ask(_: int) -> int:
        response = served.embed(input=words(1, 30))
        if response.status_code == 429:
            assert int(response.headers["retry-after"]) >= 1
            assert response.json()["error"]["type"] == "rate_limit_error"
            assert "the queue is full" in response.json()["error"]["message"]
        return response.status_code

    with ThreadPoolExecutor(40) as pool:
        statuses = Counter(pool.map(ask, range(200)))
    assert set(statuses) == {200, 429}
    assert served.value("te_request_failure", err="overloaded") == statuses[429]
    assert ask(0) == 200
    served.await_value("te_queue_size", 0)


def test_a_client_that_leaves_frees_its_place(start: Start) -> None:
    engine = GatedEngine()
    served = start(engine, QueueLimits(max_concurrent_requests=2))
    body = json.dumps({"input": ["w1"] * 50}).encode()
    for leaving in range(1, 6):
        with socket.create_connection(served.address) as connection:
            head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
            connection.sendall(head % len(body) + body)
            served.await_value("te_queue_size", 1)
        served.await_value("openbei_cancelled_requests_total", leaving)
        served.await_value("te_queue_size", 0)
    assert served.value("openbei_queue_tokens") == 0
    engine.gate.set()
    assert served.embed(input="w1").status_code == 200


def test_a_deadline_drops_the_work(start: Start) -> None:
    engine = GatedEngine()
    served = start(engine)
    late = served.client.post("/v1/embeddings", json={"input": "w1"}, headers={"request-timeout-ms": "50"})
    assert late.status_code == 408
    served.await_value("te_queue_size", 0)
    engine.gate.set()


def test_a_failing_batch_leaves_others_alone(start: Start) -> None:
    served = start(FakeEngine(failing_token_id=FAILING_ID), QueueLimits(max_batch_tokens=8))

    def ask(i: int) -> None:
        response = served.embed(input=words(666 if i % 5 == 0 else i, 6))
        if i % 5 == 0:
            assert response.status_code == 500
        elif response.status_code == 200:
            vector = response.json()["data"][0]["embedding"]
            np.testing.assert_allclose(vector, served.expected(ids(i, 6)), atol=1e-6)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(200)))
    assert served.embed(input="w1").status_code == 200
    assert served.client.get("/health").status_code == 200


def test_values_that_are_not_finite(start: Start) -> None:
    class Broken(FakeEngine):
        def run(self, batch: PackedBatch, output: Output = "pooled") -> Vectors:
            return np.full((batch.num_sequences, 8), np.nan, np.float32)

    served = start(Broken())
    response = served.embed(input="w1")
    assert response.status_code == 500
    assert "not finite" in response.json()["error"]["message"]


def test_when_to_come_back(start: Start) -> None:
    """Retry-After is what waits by what the engine achieves: 40,000 tokens at 20,000 a second until it is known."""
    engine = GatedEngine()
    served = start(engine, QueueLimits(max_queue_tokens=40_000, max_batch_tokens=64))
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(served.embed, input=[[7 + i % 50] * 39 + [7 + i // 50] for i in range(1000)])
        served.await_at_least("openbei_queue_tokens", 40_000)
        tokens, speed = served.value("openbei_queue_tokens"), served.value("openbei_engine_tokens_per_second")
        refused = served.embed(input="w1")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) == math.ceil(tokens / speed) == 2
        engine.gate.set()
        assert waiting.result().status_code == 200
