"""Several engines of a model: they share batches, and run those of an engine that is lost or hangs."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from openbei.backends import cuda
from openbei.backends.reference import ReferenceEngine
from openbei.batch import EngineInfo, Finish, Output, PackedBatch, Rows
from openbei.errors import EngineError, EngineLostError, UnavailableError
from openbei.gpus import Capability
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.scheduler import Scheduler
from openbei.serving.served_model import schedule
from tests.api.conftest import small_manifest
from tests.random_engine import random_engine_dir
from tests.small_models import small_spec

from .test_scheduler import dense, sequence, settle, value

LIMITS = QueueLimits(max_batch_tokens=8, engine_timeout_s=0.2)


class Gpu(FakeEngine):
    """One of several devices, with up to two batches in flight, which it runs one after the other.

    No batch runs while `gate` is closed. A batch with `poison` makes the device fail, as does setting `is_lost`.
    """

    max_in_flight = 2

    def __init__(self, index: int, *, poison: int | None = None, failing: int | None = None) -> None:
        super().__init__(failing_token_id=failing)
        self.index, self.poison, self.is_lost = index, poison, False
        self.gate = threading.Event()
        self.gate.set()
        self.device = ThreadPoolExecutor(1)
        self.ran: list[int] = []

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(backend="fake", device="cuda", precision="float32", index=self.index)

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        return self.device.submit(self.run, batch, output).result

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.gate.wait(10)
        if self.is_lost or self.poison in batch.token_ids:
            self.is_lost = True
            raise EngineLostError(f"cuda:{self.index}: an illegal memory access")
        self.ran.append(int(batch.token_ids[0]))
        return super().run(batch, output)


def run(test: Callable[[Scheduler], Awaitable[None]], *engines: Gpu) -> Metrics:
    """Run a test with a started scheduler. At the end its queue must be empty."""
    metrics = Metrics()

    async def main() -> None:
        scheduler = Scheduler(engines, LIMITS, ModelMetrics(metrics, "m", "embedding"))
        scheduler.start()
        try:
            await test(scheduler)
        finally:
            for engine in engines:
                engine.gate.set()
            await scheduler.close(5)

    asyncio.run(main())
    assert value(metrics, "te_queue_size") == value(metrics, "openbei_queue_tokens") == 0
    return metrics


def num_batches(metrics: Metrics, index: int) -> float:
    labels = {"model": "m", "device": f"cuda:{index}"}
    return metrics.registry.get_sample_value("openbei_batches_total", labels) or 0.0


async def answers_are_right(scheduler: Scheduler, ids: range) -> None:
    """Each request gets the rows of its own sequences, in order."""

    async def client(i: int) -> None:
        sequences = [sequence(i, *range(n)) for n in (1, 7, 3, 5)]
        rows = dense(await scheduler.submit(sequences))
        np.testing.assert_array_equal(rows, [FakeEngine().vector(one.token_ids) for one in sequences])

    await asyncio.gather(*map(client, ids))


def test_all_engines_work() -> None:
    engines = [Gpu(0), Gpu(1), Gpu(2)]

    async def test(scheduler: Scheduler) -> None:
        for engine in engines:
            engine.gate.clear()
        futures = [scheduler.submit([sequence(i, *range(7))]) for i in range(6)]
        await settle()
        for engine in engines:
            engine.gate.set()
        await asyncio.gather(*futures)
        await answers_are_right(scheduler, range(100, 160))

    metrics = run(test, *engines)
    assert all(len(engine.ran) >= 2 for engine in engines)
    assert [num_batches(metrics, i) for i in range(3)] == [len(engine.ran) for engine in engines]
    assert value(metrics, "openbei_engines") == 3


def test_a_free_engine_runs_what_a_busy_one_would_delay() -> None:
    """Rows of a request are in order, though its batches are not."""
    slow, fast = Gpu(0), Gpu(1)

    async def test(scheduler: Scheduler) -> None:
        slow.gate.clear()
        held = [scheduler.submit([sequence(i, *range(7))]) for i in range(2)]
        await settle()
        await scheduler.submit([sequence(5)])
        assert 5 in fast.ran
        long = scheduler.submit([sequence(i, *range(7)) for i in range(20)])
        await settle()
        slow.gate.set()
        await asyncio.gather(*held)
        expected = [FakeEngine().vector(sequence(i, *range(7)).token_ids) for i in range(20)]
        np.testing.assert_array_equal(dense(await long), expected)

    run(test, slow, fast)


def test_the_batches_of_a_lost_engine_run_on_another(caplog: pytest.LogCaptureFixture) -> None:
    lost, other = Gpu(0), Gpu(1)

    async def test(scheduler: Scheduler) -> None:
        for engine in (lost, other):
            engine.gate.clear()
        held = [scheduler.submit([sequence(i, *range(7))]) for i in range(6)]
        await settle()
        lost.is_lost = True
        lost.gate.set()
        await settle()
        other.gate.set()
        for i, future in enumerate(held):
            expected = FakeEngine().vector(sequence(i, *range(7)).token_ids)
            np.testing.assert_array_equal(dense(await future), [expected])
        await answers_are_right(scheduler, range(40))
        assert scheduler.is_healthy
        assert not scheduler.has_lost_engine
        assert scheduler.num_working == 1

    with caplog.at_level(logging.WARNING):
        metrics = run(test, lost, other)
    assert "fake on cuda:0, float32 is out of service; 1 of 2 engines remain" in caplog.text
    assert "an illegal memory access" in caplog.text
    assert value(metrics, "openbei_engines") == 1
    assert value(metrics, "openbei_retried_batches_total") in (1, 2)
    assert value(metrics, "openbei_batch_failures_total") == 0


def test_a_cancelled_request_does_not_run_again() -> None:
    lost, other = Gpu(0), Gpu(1)

    async def test(scheduler: Scheduler) -> None:
        for engine in (lost, other):
            engine.max_in_flight = 1
            engine.gate.clear()
        held = [scheduler.submit([sequence(i, *range(7))]) for i in range(4)]
        await settle()
        for future in held:
            future.cancel()
        lost.is_lost = True
        lost.gate.set()
        await settle()
        other.gate.set()
        await answers_are_right(scheduler, range(100, 110))

    run(test, lost, other)
    assert len([i for i in other.ran if i < 100]) == 1


def test_a_batch_runs_again_only_once() -> None:
    """A batch that makes every GPU fail disables two and fails; the third continues."""
    engines = [Gpu(i, poison=666) for i in range(3)]

    async def test(scheduler: Scheduler) -> None:
        with pytest.raises(EngineError, match="the batch failed in the engine: EngineLostError"):
            await scheduler.submit([sequence(666)])
        assert scheduler.num_working == 1
        await answers_are_right(scheduler, range(10))

    metrics = run(test, *engines)
    assert value(metrics, "openbei_retried_batches_total") == value(metrics, "openbei_batch_failures_total") == 1


def test_the_last_engine() -> None:
    engines = [Gpu(i, poison=666) for i in range(2)]

    async def test(scheduler: Scheduler) -> None:
        for engine in engines:
            engine.gate.clear()
        held = [scheduler.submit([sequence(i, *range(7))]) for i in (1, 666, 2, 666, 3, 4)]
        await settle()
        for engine in engines:
            engine.gate.set()
        results = await asyncio.gather(*held, return_exceptions=True)
        assert all(isinstance(result, EngineError | UnavailableError) for result in results[3:])
        await settle()
        assert scheduler.has_lost_engine
        assert not scheduler.is_healthy
        with pytest.raises(UnavailableError):
            scheduler.submit([sequence(1)])

    assert value(run(test, *engines), "openbei_engines") == 0


def test_a_failure_that_leaves_the_engine_usable_is_not_retried() -> None:
    engines = [Gpu(i, failing=666) for i in range(2)]

    async def test(scheduler: Scheduler) -> None:
        with pytest.raises(EngineError, match="the batch failed in the engine: EngineError"):
            await scheduler.submit([sequence(666)])
        assert scheduler.num_working == 2
        await answers_are_right(scheduler, range(10))

    assert value(run(test, *engines), "openbei_retried_batches_total") == 0


def test_an_engine_that_hangs() -> None:
    """Its batches run on the other one. Results that it returns later are ignored."""
    hanging, other = Gpu(0), Gpu(1)

    async def test(scheduler: Scheduler) -> None:
        hanging.gate.clear()
        held = [scheduler.submit([sequence(i, *range(7))]) for i in range(6)]
        await asyncio.sleep(1.2 * LIMITS.engine_timeout_s)
        assert not scheduler.is_hung
        scheduler.take_out_hung()
        assert scheduler.num_working == 1
        assert scheduler.has_taken_out
        await asyncio.wait_for(asyncio.gather(*held), 5)
        hanging.gate.set()
        await answers_are_right(scheduler, range(100, 140))
        hanging.ran.clear()
        other.gate.clear()
        last = scheduler.submit([sequence(7)])
        await asyncio.sleep(1.2 * LIMITS.engine_timeout_s)
        scheduler.take_out_hung()
        assert scheduler.is_hung
        other.gate.set()
        await last

    run(test, hanging, other)
    assert hanging.ran == []


def test_models_take_turns_on_each_device() -> None:
    """A batch of one model on a GPU does not delay another model on another GPU."""
    first, second = [Gpu(0), Gpu(1)], [Gpu(0), Gpu(1)]

    async def main() -> None:
        models = [
            LoadedModel(small_manifest(), None, *engines, name=name)  # type: ignore[arg-type]
            for name, engines in (("first", first), ("second", second))
        ]
        served = schedule(models, LIMITS, Metrics())
        for one in served:
            one.scheduler.start()
        first[0].gate.clear()
        held = [served[0].scheduler.submit([sequence(i, *range(7))]) for i in range(8)]
        await settle()
        await asyncio.wait_for(answers_are_right(served[1].scheduler, range(20)), 5)
        first[0].gate.set()
        await asyncio.gather(*held)
        await asyncio.gather(*(one.scheduler.close(5) for one in served))

    asyncio.run(main())
    assert second[1].ran


def test_engines_of_the_cuda_backend() -> None:
    """Two engines on the CPU, as on two GPUs: one loses its device, and the answers are those of the reference."""
    engine_dir = random_engine_dir(small_spec(36, 3, 12, 50))
    lost, other = (
        cuda.load_on(engine_dir, torch.device("cpu"), free_bytes=1 << 30, capability=Capability(9, 0)) for _ in range(2)
    )
    reference, metrics = ReferenceEngine(engine_dir), Metrics()

    def refuse(*arguments: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    async def main() -> None:
        scheduler = Scheduler([lost, other], QueueLimits(max_batch_tokens=64), ModelMetrics(metrics, "m", "embedding"))
        scheduler.start()
        for is_lost in (False, True):
            if is_lost:
                lost._program.run = refuse  # type: ignore[method-assign]
                lost._works = lambda: False  # type: ignore[method-assign]
            requests = [[sequence(*range(1, 2 + (i + j) % 30)) for j in range(4)] for i in range(30)]
            answers = await asyncio.gather(*(scheduler.submit(sequences) for sequences in requests))
            for sequences, answer in zip(requests, answers, strict=True):
                expected = np.asarray(reference.run(PackedBatch.pack(sequences)))
                np.testing.assert_allclose(dense(answer), expected, atol=1e-4)
        assert scheduler.num_working == 1
        await scheduler.close(5)

    asyncio.run(main())
