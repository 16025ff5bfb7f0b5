"""Probes: when /health asks the engine again, what they say of one that hangs, and those that never ask it."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openbei.api import server
from openbei.api.pages import health
from openbei.batch import Output, PackedBatch, Rows
from openbei.errors import EngineLostError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.tokenizer import Tokenizer

from ...small_tokenizer import VOCAB_SIZE
from ..conftest import MAX_TOKENS, Served, Start, serving_all, small_manifest
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
    monkeypatch.setattr(server, "end_if_hung", lambda schedulers: None)
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


class LosableEngine(FakeEngine):
    """Is lost once it is told so."""

    is_lost = False

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        if self.is_lost:
            raise EngineLostError("an illegal memory access")
        return super().run(batch, output)


def test_probes_say_how_many_engines_work(tokenizer_path: Path) -> None:
    engines = [LosableEngine(), LosableEngine()]
    model = LoadedModel(small_manifest(), Tokenizer(tokenizer_path, MAX_TOKENS, VOCAB_SIZE), *engines)
    with serving_all([model]) as served:
        for probe in ("/health", "/readyz"):
            assert served.client.get(probe).headers["x-engines"] == "2/2"
        served.await_value("openbei_engines", 2)
        engines[0].is_lost = True
        assert eventually(lambda: served.embed(input="w1").status_code == 200 and _num_working(served) == "1/2")
        served.await_value("openbei_engines", 1)
        for probe in ("/health", "/readyz", "/livez"):
            assert served.client.get(probe).status_code == 200


def _num_working(served: Served) -> str:
    return served.client.get("/readyz").headers["x-engines"]


def test_one_engine_needs_no_number(start: Start) -> None:
    assert "x-engines" not in start(FakeEngine()).client.get("/health").headers


def eventually(is_true: Callable[[], bool]) -> bool:
    for _ in range(500):
        if is_true():
            return True
        time.sleep(0.01)
    return False
