"""The generator against servers with known delays and stalls: what it records."""

import asyncio
import itertools

import numpy as np
import pytest

from openbei.errors import InputError
from openbei.load.client import run
from openbei.load.generator import LoadResult, Schedule, capacity, run_open_loop
from openbei.load.server import Server

from .loopback import Answer, loopback

REQUEST = b"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"


def even(end: float, count: int, warmup: float = 0.0) -> Schedule:
    """Requests at equal intervals."""
    return Schedule(np.arange(count) * end / count, end, warmup)


def measure(answer: Answer, schedule: Schedule, timeout: float = 30.0) -> LoadResult:
    async def main() -> LoadResult:
        async with loopback(answer) as (_, server):
            return await run_open_loop(server, itertools.repeat(REQUEST), schedule, timeout=timeout)

    return run(main())


def result_of(latencies: "np.ndarray", lag: float = 0.0, cpu: float = 0.0) -> LoadResult:
    return LoadResult(offered_rate=1, achieved_rate=1, latencies=latencies, outcomes={}, lag=lag, cpu=cpu, num_waits=0)


def test_poisson_schedule() -> None:
    """The gaps have the mean and standard deviation of an exponential distribution, and the rate is exact."""
    schedule = Schedule.poisson(200.0, 90.0, warmup=10.0, seed=3)
    times = schedule.arrivals
    gaps = np.diff(times)
    assert 0 <= times[0] < times[-1] <= schedule.end == 100.0
    assert np.all(gaps >= 0)
    assert (times < 10).sum() == 2_000
    assert (times >= 10).sum() == 18_000
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.01)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert np.array_equal(times, Schedule.poisson(200.0, 90.0, warmup=10.0, seed=3).arrivals)
    assert not np.array_equal(times, Schedule.poisson(200.0, 90.0, warmup=10.0, seed=4).arrivals)
    assert len(Schedule.poisson(0.001, 1.0, seed=1).arrivals) == 1


def test_service_time() -> None:
    """Latencies are at least the delay of the server, and requests overlap."""

    async def main() -> tuple[LoadResult, int]:
        async with loopback(lambda _: (0.05, 200)) as (handler, server):
            result = await run_open_loop(server, itertools.repeat(REQUEST), even(0.2, 40))
            return result, handler.max_running

    result, max_running = run(main())
    assert max_running > 1
    assert result.outcomes == {"200": 40}
    assert len(result.latencies) == 40
    assert result.latencies[0] >= 0.05
    assert 0 < result.achieved_rate < 200
    assert result.offered_rate == pytest.approx(200)
    assert result.num_errors == 0
    assert result.num_waits == 0


def test_a_stall_delays_every_request_of_its_time() -> None:
    """A server without a delay that answers nothing for 0.3 s of 0.6 s: requests due in the stall wait for its end.

    Latencies of these requests fall from 0.3 s to 0, and are half of all. A client that waits for each answer, or
    counts from the time at which it sends, would record one long latency only.
    """

    async def main(max_connections: int) -> LoadResult:
        async with loopback() as (handler, server):
            schedule = even(0.6, 60)
            handler.stall(0.2, 0.3)
            requests = itertools.repeat(REQUEST)
            return await run_open_loop(server, requests, schedule, max_connections=max_connections)

    for max_connections in (100, 1):
        result = run(main(max_connections))
        expected = np.sort(np.clip(0.5 - np.arange(0.2, 0.5, 0.01), 0, None))
        assert np.all(result.latencies[-28:] >= expected[-28:] - 0.011)
        assert result.latencies[-6] >= 0.24  # the 90th percentile: 6 of the 30 stalled requests wait longer
        assert (result.num_waits > 0) == (max_connections == 1)
        assert result.outcomes == {"200": 60}


def test_outcomes() -> None:
    """By status; a closed connection and a timeout are errors. Only successes and timeouts have a latency."""
    answers = [(0.0, 200), (0.0, 429), (0.0, 0), (5.0, 200), (0.0, 503), (0.0, 201)]
    result = measure(lambda index: answers[index], even(0.3, 6), timeout=0.4)
    assert result.outcomes == {"200": 1, "429": 1, "ConnectionResetError": 1, "timeout": 1, "503": 1, "201": 1}
    assert result.num_errors == 4
    assert len(result.latencies) == 3
    assert result.latencies[-1] >= 0.4


def test_refused() -> None:
    """No server: all requests fail, and nothing hangs."""

    async def main() -> LoadResult:
        async with loopback() as (_, server):
            pass
        return await run_open_loop(server, itertools.repeat(REQUEST), even(0.02, 2))

    result = run(main())
    assert result.outcomes == {"ConnectionRefusedError": 2}
    assert result.percentile(50) is None
    assert result.achieved_rate == 0


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "200"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", "200"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "ConnectionResetError"),
        (b"SSH-2.0-OpenSSH\r\n", "ConnectionError"),
    ],
)
def test_responses(response: bytes, outcome: str) -> None:
    """In chunks, without keep-alive, cut short, or not HTTP."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(response)
            if outcome == "ConnectionResetError":
                break
        writer.close()

    async def main() -> LoadResult:
        listening = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with listening:
            host, port = listening.sockets[0].getsockname()
            server = Server(label="s", host=host, port=port, path="/embed")
            return await run_open_loop(server, itertools.repeat(REQUEST), even(0.03, 3))

    assert run(main()).outcomes == {outcome: 3}


def test_warmup_is_not_counted() -> None:
    """The first request, whose answer is late and an error, is sent in the warm-up."""
    result = measure(lambda index: (0.1, 500) if index == 0 else (0.0, 200), even(0.2, 20, warmup=0.1))
    assert result.outcomes == {"200": 10}
    assert result.offered_rate == pytest.approx(100)


@pytest.mark.parametrize("count", [100, 997, 1000, 1001, 5000])
def test_percentiles(count: int) -> None:
    """As numpy's, with ranks that its floating-point errors do not move; None if the rank would be the last one."""
    latencies = np.sort(np.random.default_rng(count).lognormal(size=count))
    for percent in (50, 90, 99, 99.9):
        found = result_of(latencies).percentile(percent)
        exact = np.percentile(latencies, percent - 1e-9, method="inverted_cdf")
        assert found == (exact if exact < latencies[-1] else None)
    assert (result_of(latencies).percentile(99.9) is None) == (count < 1000)
    assert result_of(latencies).percentile(99) is not None
    assert result_of(latencies[:99]).percentile(99) is None
    assert result_of(latencies[:0]).percentile(50) is None


@pytest.mark.parametrize(("lag", "cpu", "is_limited"), [(0.0, 0.1, False), (0.02, 0.1, True), (0.0, 0.95, True)])
def test_the_client_as_the_bottleneck(lag: float, cpu: float, is_limited: bool) -> None:
    latencies = np.full(200, 0.1)
    result = result_of(latencies, lag=lag, cpu=cpu)
    assert result.is_client_limited is is_limited


def test_lag_of_the_client_is_measured() -> None:
    """A client whose event loop is blocked for 0.1 s: its lag shows it."""
    import time

    def blocking() -> "itertools.repeat[bytes]":
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.1)
        return itertools.repeat(REQUEST)

    async def main() -> LoadResult:
        async with loopback() as (_, server):
            return await run_open_loop(server, blocking(), even(0.2, 40))

    result = run(main())
    assert result.lag > 0.08
    assert result.is_client_limited


def test_capacity() -> None:
    """Four connections to a server that takes 20 ms: at most 200 responses per second."""

    async def main(status: int) -> float:
        async with loopback(lambda _: (0.02, status)) as (_, server):
            return await capacity(server, itertools.repeat(REQUEST), seconds=0.2, num_connections=4)

    assert 20 < run(main(200)) <= 200
    with pytest.raises(InputError, match="answered /v1/embeddings with status 404"):
        run(main(404))


def test_capacity_of_a_server_that_closes_connections() -> None:
    """Some requests are lost; the others count."""

    async def main() -> float:
        async with loopback(lambda index: (0.0, 0 if index % 5 == 4 else 200)) as (_, server):
            return await capacity(server, itertools.repeat(REQUEST), seconds=0.1, num_connections=2)

    assert run(main()) > 0
