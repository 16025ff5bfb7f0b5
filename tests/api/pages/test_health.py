"""Probes: when /health asks the engine again, what they say of one that hangs, and those that never ask it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from openbei.api.pages import health
from openbei.api.server import Server
from openbei.batch import Output, PackedBatch, Rows
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits

from ..conftest import Start
from ..test_load import GatedEngine


class CountingEngine(FakeEngine):
    """Remembers how many batches it ran."""

    num_batches = 0

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.num_batches += 1
        return super().run(batch, output)


def test_the_first_call_asks_the_engine(start: Start) -> None:
    engine = CountingEngine()
    served = start(engine)
    assert served.client.get("/health").status_code == 200
    assert engine.num_batches == 1
    assert served.client.get("/health").status_code == 200
    assert engine.num_batches == 1  # the first was proof enough


def test_an_old_success_is_no_proof(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    engine = CountingEngine()
    served = start(engine)
    for asked in (1, 2):
        assert served.client.get("/health").status_code == 200
        assert engine.num_batches == asked


def test_an_engine_that_hangs_after_a_success(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 as long as it hangs, and 200 when it answers again."""
    engine = GatedEngine()
    engine.gate.set()
    served = start(engine)
    assert served.client.get("/health").status_code == 200
    engine.gate.clear()
    monkeypatch.setattr(health, "FRESH_S", 0.0)
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.1)
    for _ in range(2):
        answer = served.client.get("/health")
        assert answer.status_code == 503
        assert "the engine does not answer" in answer.text
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 20.0)
    engine.gate.set()
    assert served.client.get("/health").status_code == 200


def test_probes_that_do_not_ask_the_engine(start: Start) -> None:
    """They answer while the engine is busy and the queue is full, and a batch that runs is no reason for a restart."""
    engine = GatedEngine()
    served = start(engine, QueueLimits(max_concurrent_requests=1))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.embed, input="w1")
        served.await_value("te_queue_size", 1)
        assert served.embed(input="w2").status_code == 429
        for probe in ("/readyz", "/livez"):
            assert served.client.get(probe).status_code == 200
        engine.gate.set()
        assert first.result().status_code == 200


def test_an_engine_that_hangs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only liveness says so: other replicas are not slower because of it."""
    monkeypatch.setattr(Server, "_end_if_hung", lambda self: None)
    engine = GatedEngine()
    served = start(engine, QueueLimits(engine_timeout_s=0.05))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.embed, input="w1")
        served.await_value("te_queue_size", 1)
        assert eventually(lambda: served.client.get("/livez").status_code == 503)
        assert served.client.get("/readyz").status_code == 200
        engine.gate.set()
        assert first.result().status_code == 200
    assert eventually(lambda: served.client.get("/livez").status_code == 200)


def eventually(is_true: Callable[[], bool]) -> bool:
    for _ in range(500):
        if is_true():
            return True
        time.sleep(0.01)
    return False
