"""Latency of one short query, back to back and after an idle period, and its CPU time on the event loop.

After an idle period everything is slower: threads sleep, and caches are cold. GET /health shows how much of that does
not depend on the engine.
"""

import asyncio
import statistics
import time
from pathlib import Path

from .client import connect, request_bytes, send
from .results import Row, report
from .running import server
from .setting import Setting

IDLE_S = 0.02
HEALTH = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"

REQUESTS = ("one short query", "GET /health")
KINDS = ("after 20 ms idle", "right after that", "back to back")

Times = dict[str, list[float]]
"""Milliseconds by request and kind."""


async def _by_turns(port: int, queries: list[bytes]) -> Times:
    """For each query: send it once after an idle period and twice back to back, then the same for GET /health."""
    connection = await connect(port)
    times: Times = {}
    for query in queries:
        for name, request in zip(REQUESTS, (query, HEALTH), strict=True):
            await asyncio.sleep(IDLE_S)
            for kind in KINDS:
                start_s = time.perf_counter()
                await send(connection, request)
                times.setdefault(f"{name}, {kind}", []).append(1e3 * (time.perf_counter() - start_s))
    connection.close()
    return times


async def _send(port: int, queries: list[bytes]) -> None:
    connection = await connect(port)
    for query in queries:
        await send(connection, query)
    connection.close()


def loop_cpu_s(pid: int) -> float:
    """CPU seconds of a process's main thread, which runs the event loop."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def run(setting: Setting) -> list[Row]:
    """Medians of all kinds, which alternate, and the CPU time of queries that are sent back to back."""
    import uvloop

    queries = [request_bytes([text]) for text in setting.corpus.short(setting.count(300))]
    with server(setting.engine_dir().path) as (process, port, _):
        uvloop.run(_send(port, queries[: len(queries) // 4]))
        times = uvloop.run(_by_turns(port, queries))
        start_s = loop_cpu_s(process.pid)
        uvloop.run(_send(port, queries))
        loop_us = 1e6 * (loop_cpu_s(process.pid) - start_s) / len(queries)
    p50 = {kind: statistics.median(one) for kind, one in times.items()}
    query_ms, health_ms = (p50[f"{name}, {KINDS[0]}"] - p50[f"{name}, {KINDS[-1]}"] for name in REQUESTS)
    rows = [
        *(Row(f"{kind}, p50, ms", p50[kind]) for kind in p50 if KINDS[1] not in kind),
        Row(
            "extra latency after 20 ms idle: query minus GET /health, ms",
            query_ms - health_ms,
            limit=0.1,
            is_at_most=True,
        ),
        Row("CPU time of the event loop for a short query, µs", loop_us, "{:.0f}", 60.0, is_at_most=True),
    ]
    report("latency", setting.about(), {"p50_ms": {kind: round(ms, 3) for kind, ms in p50.items()}}, rows)
    return rows
