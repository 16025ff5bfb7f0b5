"""The load generator: sends requests at scheduled times, and measures latency from those times."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openbei.errors import InputError
from openbei.load.client import Client
from openbei.load.server import Server

Seconds = NDArray[np.float64]

TIMED_OUT = "timeout"

GRACE_S = 30.0
"""Time for the last responses when capacity is measured."""

MAX_LAG = 0.1
"""The client's lag, as a share of the latency, above which the client itself may have limited the result."""

MAX_CPU = 0.9
"""The same for the client's CPU time, as a share of one core."""


@dataclass(frozen=True)
class Schedule:
    """Times at which requests are due, in ascending order; those before `warmup` are not counted."""

    arrivals: Seconds
    end: float
    warmup: float = 0.0

    @classmethod
    def poisson(cls, rate: float, seconds: float, *, warmup: float = 0.0, seed: int) -> "Schedule":
        """Independent arrivals, as from many clients: `rate` per second for `seconds` after the warm-up.

        A Poisson process with a given number of arrivals is that number of uniform times. The number is given, so that
        the rate is exact also in a short test.
        """
        rng = np.random.default_rng(seed)
        before, counted = round(rate * warmup), max(round(rate * seconds), 1)
        end = warmup + seconds
        times = np.concatenate([rng.uniform(0, warmup, before), rng.uniform(warmup, end, counted)])
        return cls(np.sort(times), end, warmup)


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What a server did at one rate. Times are in seconds."""

    offered_rate: float
    """Requests per second of the schedule."""
    achieved_rate: float
    """Successful responses per second, until the last response."""
    latencies: Seconds
    """From the scheduled time to the whole response, for successful requests; for timeouts, the time waited."""
    outcomes: dict[str, int]
    """Status or name of an error → number of requests."""
    lag: float
    """The 99th percentile of the client's own delay, between the scheduled time and its start on a request."""
    cpu: float
    """CPU time of the client as a share of the elapsed time."""
    num_waits: int
    """Requests that had to wait for a connection."""

    def percentile(self, percent: float) -> float | None:
        """The smallest latency that at least `percent` of the requests do not exceed; None with too few requests."""
        num_requests = len(self.latencies)
        rank = math.ceil(round(num_requests * percent / 100, 6))
        return None if rank == num_requests else float(self.latencies[rank - 1])

    @property
    def num_errors(self) -> int:
        """Requests without a successful response."""
        return sum(count for outcome, count in self.outcomes.items() if not is_success(outcome))

    @property
    def is_client_limited(self) -> bool:
        """Whether the client was too slow for these latencies to be those of the server."""
        high = self.percentile(99) or max(self.latencies, default=0.0)
        return self.cpu > MAX_CPU or self.lag > MAX_LAG * high


def is_success(outcome: str) -> bool:
    """Whether an outcome is a status of success."""
    return outcome.isdigit() and outcome.startswith("2")


async def run_open_loop(
    server: Server,
    requests: Iterator[bytes],
    schedule: Schedule,
    *,
    timeout: float = 30.0,
    max_connections: int = 256,
) -> LoadResult:
    """Send a request at each time of a schedule, and wait for all responses.

    A request has failed if it is not answered within `timeout` of its scheduled time.
    """
    client, loop = Client(server, max_connections), asyncio.get_running_loop()
    prepared = [next(requests) for _ in schedule.arrivals]
    records = _Records(schedule)

    async def send(index: int, due: float) -> None:
        records.lags[index] = loop.time() - due
        timer = loop.call_at(due + timeout, tasks[index].cancel)
        try:
            records.outcomes[index] = str(await client.send(prepared[index]))
        except asyncio.CancelledError:
            pass  # by the timer: the outcome remains a timeout
        except OSError as error:
            records.outcomes[index] = type(error).__name__
        finally:
            timer.cancel()
        records.latencies[index] = loop.time() - due

    cpu_start, start = time.process_time(), loop.time()
    tasks: list[asyncio.Task[None]] = []
    for index, arrival in enumerate(schedule.arrivals.tolist()):
        due = start + arrival
        await asyncio.sleep(max(due - loop.time(), 0))
        tasks.append(loop.create_task(send(index, due)))
    await asyncio.gather(*tasks)
    cpu = (time.process_time() - cpu_start) / max(loop.time() - start, 1e-9)
    client.close()
    return records.result(cpu, client.num_waits)


class _Records:
    """What happened to each request of a schedule. Times are in seconds from the scheduled one."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        num_requests = len(schedule.arrivals)
        self.lags, self.latencies = np.zeros(num_requests), np.zeros(num_requests)
        self.outcomes = [TIMED_OUT] * num_requests

    def result(self, cpu: float, num_waits: int) -> LoadResult:
        """The result of the requests after the warm-up, of which there must be one."""
        schedule = self._schedule
        counted = np.flatnonzero(schedule.arrivals >= schedule.warmup)
        outcomes = Counter(self.outcomes[i] for i in counted)
        successful = np.array([i for i in counted if is_success(self.outcomes[i])], int)
        timed_out = np.array([i for i in counted if self.outcomes[i] == TIMED_OUT], int)
        last = max(schedule.end, float((schedule.arrivals + self.latencies)[counted].max()))
        return LoadResult(
            offered_rate=len(counted) / (schedule.end - schedule.warmup),
            achieved_rate=len(successful) / (last - schedule.warmup),
            latencies=np.sort(self.latencies[np.concatenate([successful, timed_out])]),
            outcomes=dict(outcomes.most_common()),
            lag=float(np.percentile(self.lags[counted], 99)),
            cpu=cpu,
            num_waits=num_waits,
        )


async def capacity(server: Server, requests: Iterator[bytes], *, seconds: float, num_connections: int) -> float:
    """Successful responses per second when each connection sends its next request after the response to the last one.

    Raises InputError if the first request gets no response, or if none succeeds.
    """
    client, loop = Client(server, num_connections), asyncio.get_running_loop()
    start = loop.time()
    outcomes: Counter[str] = Counter()

    async def work() -> None:
        while loop.time() < start + seconds:
            try:
                outcomes[str(await client.send(next(requests)))] += 1
            except OSError as error:
                if not outcomes:
                    raise InputError(
                        f"{server.address} gave no response: {error}",
                        hint="check the scheme, the address and whether the server is running",
                    ) from error
                outcomes[type(error).__name__] += 1

    try:
        await asyncio.wait_for(asyncio.gather(*(work() for _ in range(num_connections))), seconds + GRACE_S)
    except asyncio.TimeoutError as error:
        raise InputError(f"{server.label} did not answer within {GRACE_S:.0f} s") from error
    finally:
        client.close()
    num_successes = sum(count for outcome, count in outcomes.items() if is_success(outcome))
    if not num_successes:
        raise InputError(
            f"{server.label} answered {server.path} with status {', '.join(outcomes)}",
            hint="check the path, --model-name and --key-file",
        )
    return num_successes / (loop.time() - start)
