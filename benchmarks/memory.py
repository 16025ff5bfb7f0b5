"""Resident memory of a server after many requests, and its growth."""

import re
from pathlib import Path

from .client import request_bytes, send_all
from .results import Row, report
from .running import server
from .setting import Setting

NUM_TEXTS, NUM_STEPS = 10_000, 20


def resident_mb(process_id: int) -> float:
    """VmRSS in MB, including the mapped weights that are in memory."""
    status = Path(f"/proc/{process_id}/status").read_text()
    match = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert match
    return int(match[1]) * 1024 / 1e6


def run(setting: Setting) -> list[Row]:
    """Send mixed texts over 32 connections, and read the resident memory at twenty points in between."""
    texts = setting.corpus.mixed(setting.count(NUM_TEXTS))
    step = -(-len(texts) // NUM_STEPS)
    with server(setting.engine_dir().path) as (process, port, _):
        series = [resident_mb(process.pid)]
        for start in range(0, len(texts), step):
            send_all(port, [request_bytes([text]) for text in texts[start : start + step]], 32)
            series.append(resident_mb(process.pid))
    growth = series[-1] - series[len(series) // 2]
    rows = [
        Row(f"resident memory after {len(texts):,} mixed texts, MB", series[-1], "{:.0f}", 300, is_at_most=True),
        Row("memory growth over the second half of them, MB", growth, "{:.1f}", 5, is_at_most=True),
    ]
    report("memory", setting.about(), {"resident_mb": [round(mb, 1) for mb in series]}, rows)
    return rows
