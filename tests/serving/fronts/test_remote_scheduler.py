"""Fronts and the engine's side in one process, over socket pairs and the fake engine: answers, failures, ends."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import pytest

from openbei.batch import Engine, Output, Sequence, SparseVectors
from openbei.errors import EmptyInputError, EngineError, InputError, OpenbeiError, OverloadedError, UnavailableError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.fronts.engine import Fronts
from openbei.serving.fronts.frames import HEADER, MAX_REQUEST_BYTES, Kind, ModelDescription, frame
from openbei.serving.fronts.scheduler import EngineConnection, EngineConnectionError, RemoteScheduler
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.scheduler import Scheduler

from ...api.conftest import small_manifest
from ..test_scheduler import GatedEngine


def sequence(*ids: int) -> Sequence:
    return Sequence(np.array(ids, np.int32), len(ids))


class Front:
    """A front, and its end of the socket."""

    def __init__(self, fronts: Fronts) -> None:
        self.socket, theirs = socket.socketpair()
        fronts.connect(theirs)
        self.connection, self.metrics = EngineConnection(self.socket), Metrics()

    async def start(self) -> None:
        """Do what a front does until it listens."""
        [model] = await asyncio.to_thread(self.connection.models)
        assert (model.name, model.manifest) == ("small", small_manifest())
        [started] = await asyncio.to_thread(self.connection.started)
        self.scheduler = RemoteScheduler(self.connection, 0, started, QueueLimits())
        self.expose = self.connection.metrics(self.metrics.text)
        self.scheduler.start()
        self.connection.announce("http://somewhere")

    async def answer_is_right(self, *ids: int) -> None:
        answer = await self.scheduler.submit([sequence(*ids)])
        assert isinstance(answer.rows, np.ndarray)
        np.testing.assert_array_equal(answer.rows[0], FakeEngine().vector(np.array(ids)))


@dataclass
class Server:
    """The engine's side, and two fronts that listen."""

    fronts: Fronts
    scheduler: Scheduler
    metrics: Metrics
    addresses: list[str]
    each: list[Front] = field(default_factory=list)

    def value(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"model": "small"}) or 0.0

    async def settle(self, is_settled: Callable[[], object]) -> None:
        for _ in range(2000):
            if is_settled():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("it does not happen")


def run(test: Callable[[Server, Front, Front], Awaitable[None]], *engines: Engine, **limits: int) -> None:
    """Run a test against a server with two fronts."""

    async def main() -> None:
        metrics, addresses = Metrics(), list[str]()
        own_metrics = ModelMetrics(metrics, "small", "embedding")
        scheduler = Scheduler(engines or [FakeEngine(failing_token_id=666)], QueueLimits(**limits), own_metrics)
        models = [ModelDescription("small", "/nowhere", small_manifest(), small_manifest().prompts)]
        server = Server(Fronts(models, metrics, 2, addresses.append), scheduler, metrics, addresses)
        scheduler.start()
        server.each = [Front(server.fronts), Front(server.fronts)]
        starts = [asyncio.create_task(one.start()) for one in server.each]
        server.fronts.begin([scheduler])
        await asyncio.wait_for(asyncio.gather(*starts), 10)
        await server.settle(lambda: addresses)
        await asyncio.wait_for(test(server, *server.each), 20)
        for one in server.each:
            await one.scheduler.close(5)
        await scheduler.close(5)

    asyncio.run(main())


@pytest.mark.parametrize("output", get_args(Output))
@pytest.mark.parametrize("is_sparse", [False, True])
def test_answers(output: Output, is_sparse: bool) -> None:
    """Those of the scheduler itself, for all outputs and shapes."""
    types = Sequence(np.array([7, 8], np.int32), 3, np.array([0, 1], np.int32), 1)
    requests = [[sequence(1)], [sequence(2, 3), types, sequence(4)], [sequence(*range(1000))]]

    async def test(server: Server, first: Front, second: Front) -> None:
        for request in requests:
            expected = (await server.scheduler.submit(request, output)).rows
            for front in (first, second):
                rows = (await front.scheduler.submit(request, output)).rows
                assert type(rows) is type(expected)
                if isinstance(rows, SparseVectors) and isinstance(expected, SparseVectors):
                    for name in ("indices", "values", "cu_terms", "width"):
                        np.testing.assert_array_equal(getattr(rows, name), getattr(expected, name))
                else:
                    np.testing.assert_array_equal(np.asarray(rows), np.asarray(expected))

    run(test, FakeEngine(is_sparse=is_sparse))


def test_fronts_start_together() -> None:
    """No front listens before the models and all fronts are loaded; one that comes later starts at once."""

    async def test(server: Server, first: Front, second: Front) -> None:
        third = Front(server.fronts)
        await third.start()
        await third.answer_is_right(3)
        assert server.addresses == ["http://somewhere"], "it is announced once"
        third.connection.expect(0)
        third.socket.shutdown(socket.SHUT_RDWR)

    run(test)


def test_a_front_waits_for_the_others() -> None:
    async def main() -> None:
        fronts = Fronts([ModelDescription("small", "", small_manifest(), small_manifest().prompts)], Metrics(), 2, str)
        early = asyncio.create_task(Front(fronts).start())
        fronts.begin([Scheduler([FakeEngine()], QueueLimits(), ModelMetrics(Metrics(), "small", "embedding"))])
        await asyncio.sleep(0.05)
        assert not early.done()
        await asyncio.wait_for(asyncio.gather(Front(fronts).start(), early), 5)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("sequences", "kind"),
    [
        ([], EmptyInputError),
        ([sequence(*range(9000))], InputError),
        ([sequence(666)], EngineError),
    ],
)
def test_failures(sequences: list[Sequence], kind: type[OpenbeiError]) -> None:
    """The same exceptions as without fronts."""

    async def test(server: Server, first: Front, second: Front) -> None:
        async def failure(submit: Callable[[list[Sequence]], Awaitable[object]]) -> dict[str, object]:
            with pytest.raises(kind) as caught:
                await submit(sequences)
            assert type(caught.value) is kind
            return vars(caught.value)

        async def locally(given: list[Sequence]) -> object:
            return await server.scheduler.submit(given)

        assert await failure(first.scheduler.submit) == await failure(locally)
        await second.answer_is_right(1)

    run(test)


def test_the_queue_is_one_for_all() -> None:
    engine = GatedEngine()

    async def test(server: Server, first: Front, second: Front) -> None:
        held = [first.scheduler.submit([sequence(i, i)]) for i in range(2)]
        await server.settle(lambda: server.value("te_queue_size") == 2)
        with pytest.raises(OverloadedError, match=re.escape("2 requests (limit 2), 4 tokens")) as refused:
            await second.scheduler.submit([sequence(5)])
        with pytest.raises(OverloadedError) as refused_again:
            second.scheduler.check_room()
        assert vars(refused_again.value) == vars(refused.value)
        first.scheduler.check_room()
        engine.gate.release(10)
        await asyncio.gather(*held)
        await server.settle(lambda: not server.value("te_queue_size"))
        await asyncio.sleep(0.01)
        await second.answer_is_right(5)

    run(test, engine, max_concurrent_requests=2)


def test_cancelled_requests_leave_the_queue() -> None:
    engine = GatedEngine()

    async def test(server: Server, first: Front, second: Front) -> None:
        running = first.scheduler.submit([sequence(1)])
        await server.settle(lambda: server.value("te_queue_size") == 1)
        queued = [first.scheduler.submit([sequence(i)] * 3) for i in range(2, 5)]
        await server.settle(lambda: server.value("openbei_queue_tokens") == 10)
        for future in queued:
            future.cancel()
        await server.settle(lambda: server.value("openbei_queue_tokens") == 1)
        assert server.value("openbei_cancelled_requests_total") == 3
        engine.gate.release(10)
        await running
        assert [sum(batch) for batch in engine.batches] == [1]

    run(test, engine, max_batch_tokens=1)


def test_the_end_of_a_front_touches_no_other() -> None:
    engine = GatedEngine()

    async def test(server: Server, first: Front, second: Front) -> None:
        lost = [first.scheduler.submit([sequence(i)]) for i in range(1, 4)]
        kept = [second.scheduler.submit([sequence(i)]) for i in range(4, 7)]
        await server.settle(lambda: server.value("te_queue_size") == 6)
        first.socket.shutdown(socket.SHUT_RDWR)
        await server.settle(lambda: server.value("te_queue_size") == 3)
        engine.gate.release(10)
        for i, answer in enumerate(await asyncio.gather(*kept), 4):
            np.testing.assert_array_equal(np.asarray(answer.rows)[0], FakeEngine().vector(np.array([i])))
        for future in lost:
            with pytest.raises(UnavailableError, match="the engine process has ended"):
                await future
        assert first.scheduler.has_lost_engine
        with pytest.raises(UnavailableError):
            first.scheduler.check_room()
        with pytest.raises(UnavailableError):
            first.scheduler.submit([sequence(1)])

    run(test, engine)


@pytest.mark.parametrize(
    "content",
    [
        HEADER.pack(MAX_REQUEST_BYTES + 1, 1, Kind.SUBMIT, 0),
        frame(Kind.SUBMIT, b"nonsense"),
        frame(Kind.SUBMIT, bytes(8), model=1),
        frame(Kind.EXPECT, model=9),
        frame(Kind.START),
        b"\xff" * 64,
    ],
)
def test_a_malformed_frame_ends_its_connection_only(content: bytes) -> None:
    async def test(server: Server, first: Front, second: Front) -> None:
        first.socket.setblocking(True)
        await asyncio.to_thread(first.socket.sendall, content)
        await server.settle(lambda: first.scheduler.has_lost_engine)
        await second.answer_is_right(1)

    run(test)


def test_metrics_are_those_of_all_processes() -> None:
    async def test(server: Server, first: Front, second: Front) -> None:
        for status, front in ((200, first), (429, second)):
            front.metrics.http_requests.labels("/embed", status).inc()
            await front.answer_is_right(1)
        expected = {
            'openbei_http_requests_total{route="/embed",status="200"} 1.0',
            'openbei_http_requests_total{route="/embed",status="429"} 1.0',
            'te_batch_next_size_count{model="small"} 2.0',
            'openbei_engines{model="small"} 1.0',
        }
        for front in (first, second):
            assert expected <= set((await front.expose()).decode().splitlines())
        first.socket.shutdown(socket.SHUT_RDWR)
        await server.settle(lambda: first.scheduler.has_lost_engine)
        second.metrics.http_requests.labels("/embed", 200).inc()
        text = (await second.expose()).decode()
        assert 'openbei_http_requests_total{route="/embed",status="200"} 2.0' in text
        with pytest.raises(UnavailableError):
            await first.expose()

    run(test)


def test_a_lost_engine_is_reported() -> None:
    async def test(server: Server, first: Front, second: Front) -> None:
        assert [first.scheduler.num_working, len(first.scheduler.engine_infos)] == [2, 2]
        server.scheduler._working.pop()
        server.fronts.report_working()
        await server.settle(lambda: first.scheduler.num_working == second.scheduler.num_working == 1)

    run(test, FakeEngine(), FakeEngine())


def test_a_front_without_an_engine_process() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(EngineConnectionError):
        EngineConnection(ours).models()


def test_a_request_that_is_too_large_for_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(server: Server, first: Front, second: Front) -> None:
        monkeypatch.setattr("openbei.serving.fronts.scheduler.MAX_REQUEST_BYTES", 100)
        with pytest.raises(InputError, match="30 tokens"):
            first.scheduler.submit([sequence(*range(30))])
        await first.answer_is_right(1)

    run(test)
