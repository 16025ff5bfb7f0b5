"""Schedulers of several models on one device: one batch runs at a time, and floods delay no other model."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from openbei.batch import Output, PackedBatch, Rows, Sequence
from openbei.errors import OverloadedError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.queue_budget import QueueBudget, QueueLimits
from openbei.serving.scheduler import Scheduler
from openbei.serving.turns import Turns

from .test_scheduler import settle


class Device:
    """Runs a batch of any of its engines when told to; `ran` has the models of the batches."""

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.ran: list[str] = []
        self.overlapped = False
        self._running = threading.Lock()

    def run(self, name: str) -> None:
        self.overlapped |= not self._running.acquire(blocking=False)
        self.gate.acquire(timeout=20)
        self.ran.append(name)
        self._running.release()


class DeviceEngine(FakeEngine):
    def __init__(self, device: Device, name: str) -> None:
        super().__init__()
        self.device, self.name = device, name

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        self.device.run(self.name)
        return super().run(batch, output)


def sequence(num_tokens: int) -> Sequence:
    return Sequence(np.ones(num_tokens, np.int32), num_tokens)


def run(test: Callable[[Device, Scheduler, Scheduler], Awaitable[None]], **limits: int) -> None:
    """Run a test against two started schedulers, whose batches have up to 8 tokens."""

    async def main() -> None:
        device, queue = Device(), QueueLimits(max_batch_tokens=8, **limits)
        budget, turns, metrics = QueueBudget(queue), Turns(), Metrics()
        flooded, calm = (
            Scheduler(
                [DeviceEngine(device, name)],
                queue,
                ModelMetrics(metrics, name, "embedding"),
                budget=budget,
                turns=[turns],
            )
            for name in ("flooded", "calm")
        )
        for scheduler in (flooded, calm):
            scheduler.start()
        try:
            await test(device, flooded, calm)
        finally:
            device.gate.release(1000)
            await asyncio.gather(flooded.close(5), calm.close(5))
        assert not device.overlapped

    asyncio.run(main())


def test_a_flood_delays_another_model_by_the_running_batch_only() -> None:
    async def test(device: Device, flooded: Scheduler, calm: Scheduler) -> None:
        flood = [flooded.submit([sequence(8)]) for _ in range(20)]
        await settle()
        for _ in range(5):
            answer = calm.submit([sequence(1)])
            await settle()
            device.gate.release(2)
            await answer
            assert device.ran[-2:] == ["flooded", "calm"]
            await settle()
        assert device.ran.count("flooded") == 5
        device.gate.release(1000)
        await asyncio.gather(*flood)

    run(test)


def test_a_batch_is_filled_while_it_waits_for_its_turn() -> None:
    async def test(device: Device, flooded: Scheduler, calm: Scheduler) -> None:
        first = flooded.submit([sequence(8)])
        await settle()
        answers = []
        for _ in range(8):
            answers.append(calm.submit([sequence(1)]))
            await settle()
        device.gate.release(2)
        await asyncio.gather(first, *answers)
        assert device.ran == ["flooded", "calm"]

    run(test)


def test_a_turn_is_given_back_if_its_requests_were_cancelled() -> None:
    async def test(device: Device, flooded: Scheduler, calm: Scheduler) -> None:
        first = flooded.submit([sequence(8)])
        await settle()
        cancelled = calm.submit([sequence(1)])
        await settle()
        cancelled.cancel()
        await settle()
        device.gate.release(1)
        await first
        await settle()
        again = flooded.submit([sequence(8)])
        device.gate.release(1)
        await asyncio.wait_for(again, 10)
        last = calm.submit([sequence(1)])
        device.gate.release(1)
        await asyncio.wait_for(last, 10)
        assert device.ran == ["flooded", "flooded", "calm"]

    run(test)


def test_a_full_queue_has_room_for_another_model() -> None:
    async def test(device: Device, flooded: Scheduler, calm: Scheduler) -> None:
        answers = [flooded.submit([sequence(1)]) for _ in range(9)]
        with pytest.raises(OverloadedError, match=r"the queue is full: 9 requests \(limit 12\)"):
            flooded.submit([sequence(1)])
        answers += [calm.submit([sequence(1)]) for _ in range(3)]
        with pytest.raises(OverloadedError, match=r"the queue is full: 12 requests \(limit 12\)"):
            calm.submit([sequence(1)])
        device.gate.release(1000)
        await asyncio.gather(*answers)

    run(test, max_concurrent_requests=12)
