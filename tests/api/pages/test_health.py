"""GET /health after the first batch: when the engine is asked again, and what it says of one that hangs by then."""

import pytest

from openbei.api.pages import health
from openbei.batch import Output, PackedBatch, Rows
from openbei.serving.fake_engine import FakeEngine

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
