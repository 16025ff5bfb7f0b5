"""Requests per second of `bei serve` with different numbers of front processes, and the CPU time of a request.

`python -m benchmarks.fronts ENGINE [NUM_FRONTS ...]` prints a line of JSON for each number of fronts and workload. The
clients run on the same machine, in processes of their own.
"""

import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .client import request_bytes, send_all
from .running import Running, server

NUM_FRONTS = (0, 1, 2, 4, 8, 12)
NUM_CLIENTS, NUM_CONNECTIONS = 4, 64
"""The number of processes that send requests, and the connections of each."""

MEASURED_S = 3.0


class Workload(NamedTuple):
    """Equal requests: the words of a text, and the texts of a request."""

    num_words: int
    num_texts: int


WORKLOADS = (Workload(3, 1), Workload(498, 1), Workload(498, 16))


OPTIONS = ("--max-concurrent-requests", "100000", "--max-queue-tokens", "100000000")


def processes_of(running: Running) -> list[int]:
    """The ids of a server's processes, the one with the engine first."""
    found = re.search(r"engine process: (\d+); front processes: (.*)", running.log)
    return [int(one) for one in (found[1], *found[2].split(", "))] if found else [running.process.pid]


def cpu_s(process: int) -> float:
    """The CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send_for(port: int, workload: Workload, seconds: float) -> int:
    """Send requests for some seconds, and return how many were answered."""
    request = request_bytes([" ".join(["time"] * workload.num_words)] * workload.num_texts)
    ends_s = time.monotonic() + seconds

    def requests() -> Iterator[bytes]:
        while time.monotonic() < ends_s:
            yield request

    return len(send_all(port, requests(), NUM_CONNECTIONS))


def measure(port: int, processes: list[int], workload: Workload, clients: ProcessPoolExecutor) -> dict[str, float]:
    """Requests and texts per second, and microseconds of CPU time per request."""
    for seconds in (1.0, MEASURED_S):
        before, start_s = [cpu_s(one) for one in processes], time.monotonic()
        sent = [clients.submit(send_for, port, workload, seconds) for _ in range(NUM_CLIENTS)]
        count = sum(one.result() for one in sent)
        passed_s = time.monotonic() - start_s
    engine_s, *fronts_s = [cpu_s(one) - was for one, was in zip(processes, before, strict=True)]
    return {
        "requests_per_s": round(count / passed_s),
        "texts_per_s": round(count * workload.num_texts / passed_s),
        "engine_process_us": round(engine_s / count * 1e6),
        "fronts_us": round(sum(fronts_s) / count * 1e6),
        "engine_process_cores": round(engine_s / passed_s, 2),
        "fronts_cores": round(sum(fronts_s) / passed_s, 2),
    }


def main() -> None:
    """Measure each number of fronts with each workload."""
    engine_dir, *counts = sys.argv[1:]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(NUM_CLIENTS, mp_context=spawn) as clients:
        for num_fronts in map(int, counts) if counts else NUM_FRONTS:
            with server(Path(engine_dir), "--front-processes", str(num_fronts), *OPTIONS) as running:
                processes = processes_of(running)
                for workload in WORKLOADS:
                    row = {"num_fronts": num_fronts, **workload._asdict()}
                    sys.stdout.write(json.dumps(row | measure(running.port, processes, workload, clients)) + "\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
