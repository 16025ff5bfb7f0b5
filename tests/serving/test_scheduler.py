"""The scheduler over the fake engine: who gets what, who waits, what a failure touches."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from openbei.batch import Finish, Output, PackedBatch, Rows, Sequence, SparseVectors, Vectors
from openbei.errors import EmptyInputError, EngineError, EngineLostError, InputError, OverloadedError, UnavailableError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.request import Answer
from openbei.serving.scheduler import Scheduler
from openbei.serving.speed import Speed


class GatedEngine(FakeEngine):
    """Runs a batch only when told to, and remembers what it ran."""

    def __init__(self) -> None:
        super().__init__(failing_token_id=666)
        self.gate = threading.Semaphore(0)
        self.batches: list[list[int]] = []

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.gate.acquire(timeout=20)
        self.batches.append(np.diff(batch.cu_seqlens).tolist())
        return super().run(batch, output)


class OverlappingEngine(FakeEngine):
    """Has two batches in flight, as a GPU has: a thread of its own runs them, one after the other, when told to."""

    def __init__(self) -> None:
        super().__init__(failing_token_id=666)
        self.gate = threading.Semaphore(0)
        self.device = ThreadPoolExecutor(1)
        self.events: list[str] = []

    @property
    def max_in_flight(self) -> int:
        return 2

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        name = str(batch.token_ids[0])
        self.events.append(f"start {name}")
        running = self.device.submit(self._run_when_told, batch, output)

        def finish() -> Rows:
            self.events.append(f"finish {name}")
            return running.result()

        return finish

    def _run_when_told(self, batch: PackedBatch, output: Output) -> Rows:
        self.gate.acquire(timeout=20)
        return self.run(batch, output)


def sequence(*ids: int) -> Sequence:
    return Sequence(np.array(ids, np.int32), len(ids))


def run(test: Callable[[Scheduler], Awaitable[None]], engine: FakeEngine, limits: QueueLimits | None = None) -> Metrics:
    """Run a test against a started scheduler; in the end nothing may be left in it."""
    metrics = Metrics()

    async def main() -> None:
        scheduler = Scheduler(engine, limits or QueueLimits(), ModelMetrics(metrics, "m", "embedding"))
        scheduler.start()
        try:
            await test(scheduler)
        finally:
            if isinstance(engine, GatedEngine | OverlappingEngine):
                engine.gate.release(1000)
            await scheduler.close(5)

    asyncio.run(main())
    assert value(metrics, "te_queue_size") == 0
    assert value(metrics, "openbei_queue_tokens") == 0
    return metrics


def dense(answer: Answer) -> Vectors:
    """The rows of an answer, which are no sparse ones."""
    assert not isinstance(answer.rows, SparseVectors)
    return answer.rows


def value(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "m"})


async def settle() -> None:
    """Let the engine's thread and the loop get to where they wait."""
    await asyncio.sleep(0.05)


def test_everyone_gets_their_own() -> None:
    engine = FakeEngine(delay_s=0.001)
    random = np.random.default_rng(0)

    async def client(scheduler: Scheduler) -> None:
        for _ in range(10):
            sequences = [
                Sequence(random.integers(0, 1000, n, np.int32), n)
                for n in random.integers(1, 60, random.integers(1, 40))
            ]
            vectors = dense(await scheduler.submit(sequences))
            assert vectors.dtype == np.float32
            np.testing.assert_array_equal(vectors, [engine.vector(s.token_ids) for s in sequences])

    async def test(scheduler: Scheduler) -> None:
        await asyncio.gather(*(client(scheduler) for _ in range(64)))

    run(test, engine, QueueLimits(max_batch_tokens=256))


def test_waiting_sequences_share_the_next_batch() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        first = scheduler.submit([sequence(1)])
        await settle()
        later = [scheduler.submit([sequence(i, i)]) for i in range(5)]
        engine.gate.release(2)
        await asyncio.gather(first, *later)
        assert engine.batches == [[1], [2] * 5]

    run(test, engine)


def test_a_short_request_does_not_wait_for_a_huge_one() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        huge = scheduler.submit([sequence(*range(100))] * 500)
        await settle()
        short = scheduler.submit([sequence(7)])
        engine.gate.release(3)  # one runs, one is prefetched, and then it is in
        await asyncio.wait_for(short, 10)
        assert not huge.done()
        engine.gate.release(1000)
        assert len(dense(await huge)) == 500

    run(test, engine, QueueLimits(max_batch_tokens=200))


@pytest.mark.filterwarnings("error")
def test_a_failure_touches_its_own_batch_only() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        before = scheduler.submit([sequence(1)])
        await settle()
        mates = [scheduler.submit([sequence(666)]), scheduler.submit([sequence(2)])]
        engine.gate.release(2)
        with pytest.raises(EngineError, match="the batch failed in the engine: EngineError"):
            await mates[0]
        with pytest.raises(EngineError):
            await mates[1]
        engine.gate.release(1)
        np.testing.assert_array_equal(dense(await before), [engine.vector(np.array([1]))])
        np.testing.assert_array_equal(dense(await scheduler.submit([sequence(3)])), [engine.vector(np.array([3]))])
        assert scheduler.is_healthy

    metrics = run(test, engine)
    assert value(metrics, "openbei_batch_failures_total") == 1


def test_a_request_in_many_batches_fails_once_and_its_rest_is_dropped() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        future = scheduler.submit([sequence(*range(60)), sequence(*[666] * 60), *[sequence(*range(60))] * 50])
        engine.gate.release(1000)
        with pytest.raises(EngineError):
            await future
        await scheduler.submit([sequence(5)])
        assert len(engine.batches) <= 4

    run(test, engine, QueueLimits(max_batch_tokens=60))


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError(), RuntimeError("x")])
def test_the_thread_survives_whatever_an_engine_raises(error: BaseException) -> None:
    class Broken(FakeEngine):
        def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
            if batch.num_tokens == 2:
                raise error
            return super().run(batch, output)

    async def test(scheduler: Scheduler) -> None:
        with pytest.raises(EngineError, match=type(error).__name__):
            await scheduler.submit([sequence(1, 2)])
        assert len(dense(await scheduler.submit([sequence(1)]))) == 1
        assert scheduler.is_healthy

    run(test, Broken())


def test_a_lost_engine_takes_no_more_requests() -> None:
    class Lost(FakeEngine):
        def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
            raise EngineLostError("an illegal memory access")

    async def test(scheduler: Scheduler) -> None:
        running, waiting = scheduler.submit([sequence(1)]), scheduler.submit([sequence(2)] * 3)
        for future in (running, waiting):
            with pytest.raises((EngineError, UnavailableError)):
                await future
        await settle()
        assert scheduler.has_lost_engine
        assert not scheduler.is_healthy
        with pytest.raises(UnavailableError):
            scheduler.submit([sequence(3)])

    run(test, Lost())


def test_too_few_vectors_are_a_failure() -> None:
    class Short(FakeEngine):
        def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
            return super().run(batch, output)[:-1]

    async def test(scheduler: Scheduler) -> None:
        with pytest.raises(EngineError):
            await scheduler.submit([sequence(1), sequence(2)])

    run(test, Short())


@pytest.mark.parametrize("limits", [QueueLimits(max_concurrent_requests=3), QueueLimits(max_queue_tokens=30)])
def test_a_full_queue_refuses_and_recovers(limits: QueueLimits) -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        accepted = [scheduler.submit([sequence(*range(10))]) for _ in range(3)]
        with pytest.raises(OverloadedError, match="the queue is full: 3 requests") as caught:
            scheduler.submit([sequence(1)])
        assert caught.value.retry_after_s > 0
        engine.gate.release(1000)
        await asyncio.gather(*accepted)
        await scheduler.submit([sequence(1)])

    run(test, engine, limits)


def test_a_big_request_is_admitted_when_there_is_room() -> None:
    async def test(scheduler: Scheduler) -> None:
        assert len(dense(await scheduler.submit([sequence(*range(10))] * 100))) == 100

    run(test, FakeEngine(), QueueLimits(max_queue_tokens=30))


def test_cancellation_frees_the_place() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        running = scheduler.submit([sequence(1)])
        await settle()
        gone = [scheduler.submit([sequence(*range(50))] * 10) for _ in range(10)]
        for future in gone:
            future.cancel()
        await settle()
        last = scheduler.submit([sequence(2, 2)])
        engine.gate.release(2)
        await asyncio.gather(running, last)
        assert engine.batches == [[1], [2]]

    metrics = run(test, engine, QueueLimits(max_batch_tokens=100))
    assert value(metrics, "openbei_cancelled_requests_total") == 10


def test_cancelled_while_it_runs() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        gone = scheduler.submit([sequence(1)])
        await settle()
        gone.cancel()
        engine.gate.release(2)
        await scheduler.submit([sequence(2)])

    run(test, engine)


def test_cancelled_in_the_moment_of_its_result() -> None:
    """The batch is already on its way back to the loop; its other requests must get their vectors."""
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        first = scheduler.submit([sequence(1)])
        await settle()
        gone, mate = scheduler.submit([sequence(2)]), scheduler.submit([sequence(3)])
        engine.gate.release(2)
        time.sleep(0.2)  # the loop stands still, so both results wait for it
        gone.cancel()
        assert len(dense(await asyncio.wait_for(mate, 5))) == len(dense(await first)) == 1

    run(test, engine)


def test_closing_finishes_what_was_accepted() -> None:
    async def test(scheduler: Scheduler) -> None:
        accepted = [scheduler.submit([sequence(i)] * 20) for i in range(20)]
        closing = asyncio.create_task(scheduler.close(20))
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            scheduler.submit([sequence(1)])
        assert [len(dense(answer)) for answer in await asyncio.gather(*accepted)] == [20] * 20
        await closing
        assert not scheduler.is_healthy

    run(test, FakeEngine(delay_s=0.002), QueueLimits(max_batch_tokens=20))


def test_closing_fails_what_is_left_at_the_deadline() -> None:
    engine = GatedEngine()

    async def test(scheduler: Scheduler) -> None:
        left = [scheduler.submit([sequence(i)]) for i in range(5)]
        closing = asyncio.create_task(scheduler.close(0.05))
        for future in left:
            with pytest.raises(UnavailableError, match="shut down"):
                await future
        engine.gate.release(1000)
        await closing

    run(test, engine)


def test_requests_that_cannot_run() -> None:
    async def test(scheduler: Scheduler) -> None:
        with pytest.raises(InputError, match="an input has 51 tokens; the limit of a batch is 50"):
            scheduler.submit([sequence(1), sequence(*range(51))])
        with pytest.raises(EmptyInputError):
            scheduler.submit([])

    run(test, FakeEngine(), QueueLimits(max_num_tokens=50))


def test_before_the_start() -> None:
    scheduler = Scheduler(FakeEngine(), QueueLimits(), ModelMetrics(Metrics(), "m", "embedding"))
    assert not scheduler.is_healthy
    with pytest.raises(UnavailableError):
        scheduler.submit([sequence(1)])


def test_speed_weighs_by_tokens() -> None:
    speed = Speed(1.0)
    for _ in range(300):
        speed.add(1000, 0.01)
        speed.add(1, 0.001)
    assert speed.tokens_per_s == pytest.approx(91_000, rel=0.01)


def test_each_output_gets_its_own_batches() -> None:
    """Requests for token vectors and for pooled ones arrive in turn; a batch holds one kind, and rows go home."""
    engine = FakeEngine()

    async def test(scheduler: Scheduler) -> None:
        async def client(i: int) -> None:
            sequences = [sequence(*range(i, i + 1 + (i + j) % 5)) for j in range(4)]
            output: Output = "tokens" if i % 2 else "pooled"
            rows = dense(await scheduler.submit(sequences, output))
            read = (
                [np.array([t]) for s in sequences for t in s.token_ids] if i % 2 else [s.token_ids for s in sequences]
            )
            np.testing.assert_array_equal(rows, [engine.vector(ids) for ids in read])

        await asyncio.gather(*map(client, range(64)))

    run(test, engine)


def test_sparse_rows_of_several_batches() -> None:
    engine = FakeEngine(is_sparse=True)

    async def test(scheduler: Scheduler) -> None:
        sequences = [sequence(*range(i, i + 40)) for i in range(50)]
        rows = (await scheduler.submit(sequences)).rows
        assert isinstance(rows, SparseVectors)
        for i, one in enumerate(sequences):
            vector = engine.vector(one.token_ids)
            row = rows[i : i + 1]
            np.testing.assert_array_equal(row.indices, np.flatnonzero(vector > 0))
            np.testing.assert_array_equal(row.values, vector[vector > 0])

    run(test, engine, QueueLimits(max_batch_tokens=100))


def test_two_batches_in_flight() -> None:
    """With work waiting the next batch is started before the first is finished, and never a third."""
    engine = OverlappingEngine()

    async def test(scheduler: Scheduler) -> None:
        futures = [scheduler.submit([sequence(i)]) for i in range(1, 5)]
        await settle()
        assert engine.events == ["start 1", "start 2", "finish 1"]
        engine.gate.release()
        await futures[0]
        await settle()
        assert engine.events[3:] == ["start 3", "finish 2"]
        engine.gate.release(3)
        for i, future in enumerate(futures, start=1):
            np.testing.assert_array_equal(dense(await future), [engine.vector(sequence(i).token_ids)])
        assert engine.events[5:] == ["start 4", "finish 3", "finish 4"]

    run(test, engine, QueueLimits(max_batch_tokens=1))


def test_an_engine_with_one_batch_in_flight_waits_for_no_second() -> None:
    engine = OverlappingEngine()

    async def test(scheduler: Scheduler) -> None:
        lone = scheduler.submit([sequence(1)])
        await settle()
        assert engine.events == ["start 1", "finish 1"]
        engine.gate.release()
        await lone

    run(test, engine)


def test_a_failure_in_flight_touches_no_other_batch() -> None:
    engine = OverlappingEngine()

    async def test(scheduler: Scheduler) -> None:
        futures = [scheduler.submit([sequence(i)]) for i in (1, 666, 3)]
        engine.gate.release(3)
        for i, future in zip((1, 3), (futures[0], futures[2]), strict=True):
            np.testing.assert_array_equal(dense(await future), [engine.vector(sequence(i).token_ids)])
        with pytest.raises(EngineError):
            await futures[1]

    run(test, engine, QueueLimits(max_batch_tokens=1))


@pytest.mark.parametrize("error", [None, RuntimeError("no thread")])
def test_an_idle_engine_is_woken_for_a_request_that_is_expected(error: Exception | None) -> None:
    class Sleeper(GatedEngine):
        num_calls = 0

        def wake(self) -> None:
            self.num_calls += 1
            if error:
                raise error

    engine = Sleeper()

    async def test(scheduler: Scheduler) -> None:
        scheduler.expect()
        await settle()
        assert engine.num_calls == 1
        running = scheduler.submit([sequence(1)])
        scheduler.expect()
        await settle()
        engine.gate.release(1)
        np.testing.assert_array_equal(dense(await running), [engine.vector(np.array([1]))])
        assert engine.num_calls == 1

    run(test, engine)


def test_many_clients_of_an_engine_with_two_batches_in_flight() -> None:
    engine = OverlappingEngine()
    engine.gate.release(100_000)

    async def client(scheduler: Scheduler, first: int) -> None:
        for i in range(first, first + 20):
            found = dense(await scheduler.submit([sequence(i), sequence(i, i)]))
            np.testing.assert_array_equal(found, [engine.vector(s.token_ids) for s in (sequence(i), sequence(i, i))])

    async def test(scheduler: Scheduler) -> None:
        await asyncio.gather(*(client(scheduler, 1000 * i) for i in range(1, 30)))

    run(test, engine, QueueLimits(max_batch_tokens=16))
