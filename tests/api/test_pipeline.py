"""Tokenizing is cancelled when nobody waits for it, and not begun for what the server would refuse."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from openbei.api.limits import Limits
from openbei.serving import cancellation
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.library import GROUP_CHARACTERS
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import SequenceHead

from ..small_tokenizer import words
from .conftest import Served, Start, small_manifest
from .test_load import GatedEngine

TEXTS = [words(1, 30)] * (3 * GROUP_CHARACTERS // len(words(1, 30)))


class Gate:
    """Stops the first group of texts that is tokenized; writes down how each check ends."""

    def __init__(self) -> None:
        self.is_reached, self.is_open = threading.Event(), threading.Event()
        self.checks: list[str] = []
        self.has_ended = threading.Event()
        self._check = cancellation.check

    def check(self) -> None:
        self.is_reached.set()
        self.is_open.wait(20)
        try:
            self._check()
            self.checks.append("goes on")
        except cancellation.WorkCancelledError:
            self.checks.append("given up")
            self.has_ended.set()
            raise


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(cancellation, "check", gate.check)
    yield gate
    gate.is_open.set()


@pytest.fixture
def served(start: Start) -> Served:
    return start(FakeEngine(), limits=Limits(max_client_batch_size=len(TEXTS)))


def test_a_client_that_leaves(served: Served, gate: Gate) -> None:
    body = json.dumps({"input": TEXTS}).encode()
    with socket.create_connection(served.address) as connection:
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        assert gate.is_reached.wait(20)
    served.await_value("te_request_failure", 1, err="dropped")
    gate.is_open.set()
    assert gate.has_ended.wait(20)
    assert gate.checks == ["given up"]


def test_a_time_limit_that_passes(served: Served, gate: Gate) -> None:
    answer = served.client.post("/v1/embeddings", json={"input": TEXTS}, headers={"request-timeout-ms": "200"})
    assert answer.status_code == 408
    gate.is_open.set()
    assert gate.has_ended.wait(20)
    assert gate.checks == ["given up"]


def test_a_client_that_waits(served: Served, gate: Gate) -> None:
    gate.is_open.set()
    assert served.embed(input=TEXTS).status_code == 200
    assert len(gate.checks) >= 3
    assert {*gate.checks} == {"goes on"}


def test_nothing_is_tokenized_for_a_full_queue(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = GatedEngine()
    served = start(engine, QueueLimits(max_concurrent_requests=1))
    waiting = threading.Thread(target=served.embed, kwargs={"input": "w1"})
    waiting.start()
    served.await_value("te_queue_size", 1)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was tokenized")

    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", refuse)
        assert served.embed(input=words(1, 30)).status_code == 429
    engine.gate.set()
    waiting.join(20)


def test_a_query_counts_for_each_document(start: Start) -> None:
    """A small body must not make more work than the largest one that is let in."""
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",), default_route="/rerank")
    served = start(FakeEngine(1), limits=Limits(max_body_bytes=10_000), manifest=manifest)
    query = "a" * 998
    assert len(served.post("/rerank", query=query, texts=["bc"] * 10)) == 10
    status, message = served.refused("/rerank", query=query, texts=["bc"] * 11)
    assert status == 422
    assert "11000 characters" in message
    assert "limit is 10000" in message
