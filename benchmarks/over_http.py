"""HTTP overhead: throughput of a server as a share of the in-process throughput, and latency of an idle server."""

import statistics
from collections.abc import Callable
from functools import partial

from .client import request_bytes, send_all
from .results import Row, interleaved, ratio, report
from .running import server
from .setting import Setting

NUM_TEXTS = 1000
IN_PROCESS = "in process"
SHAPES = {"32 connections × 1 text": (32, 1), "4 connections × 32 texts": (4, 32)}


def run(setting: Setting) -> list[Row]:
    """Embed mixed texts alternately over HTTP and in process, then one short query at a time over HTTP."""
    texts = setting.corpus.mixed(setting.count(NUM_TEXTS))
    model = setting.model()
    queries = [request_bytes([text]) for text in setting.corpus.short(setting.count(400))]
    with server(setting.engine_dir().path) as (_, port, _):
        contenders: dict[str, Callable[[], object]] = {IN_PROCESS: partial(model.embed, texts)}
        for shape, (num_connections, num_texts) in SHAPES.items():
            requests = [request_bytes(texts[i : i + num_texts]) for i in range(0, len(texts), num_texts)]
            contenders[shape] = partial(send_all, port, requests, num_connections)
        times = interleaved(contenders, setting.count(4))
        send_all(port, queries[: len(queries) // 4])
        latencies_ms = sorted(1e3 * s for s in send_all(port, queries))
    percentiles = statistics.quantiles(latencies_ms, n=100)
    rows = [
        Row(f"HTTP throughput, {shape}, share of in process", ratio(times[IN_PROCESS], times[shape]), "{:.0%}", 0.8)
        for shape in SHAPES
    ]
    rows += [
        Row("one short query over HTTP, idle server, p50, ms", percentiles[49], "{:.2f}", 2.0, is_at_most=True),
        Row("the same, p99, ms", percentiles[98], "{:.2f}"),
    ]
    speeds = {name: round(len(texts) / statistics.median(s)) for name, s in times.items()}
    report("http", setting.about(), {"texts_per_s": speeds}, rows)
    return rows
