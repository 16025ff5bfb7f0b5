"""Resident memory of a server after many texts, and whether it still grows."""

import re
from pathlib import Path

from .client import ask_all, request_bytes
from .results import Row, report
from .setting import Setting, server

NUM_TEXTS, NUM_STEPS = 10_000, 20


def resident_mb(process_id: int) -> float:
    """VmRSS, in MB: the mapped weights that were touched count."""
    status = Path(f"/proc/{process_id}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024 / 1e6


def run(setting: Setting) -> list[Row]:
    """Mixed texts over 32 connections, resident memory read twenty times on the way."""
    texts = setting.corpus.mixed(setting.count(NUM_TEXTS))
    step = -(-len(texts) // NUM_STEPS)
    with server(setting.engine_dir().path) as (process, port):
        series = [resident_mb(process.pid)]
        for start in range(0, len(texts), step):
            ask_all(port, [request_bytes([text]) for text in texts[start : start + step]], 32)
            series.append(resident_mb(process.pid))
    growth = series[-1] - series[len(series) // 2]
    rows = [
        Row(f"resident memory after {len(texts):,} mixed texts, MB", series[-1], "{:.0f}", 300, is_at_most=True),
        Row("memory growth over the second half of them, MB", growth, "{:.1f}", 5, is_at_most=True),
    ]
    report("memory", setting.about(), {"resident_mb": [round(mb, 1) for mb in series]}, rows)
    return rows
