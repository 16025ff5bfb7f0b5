"""Startup time: from exec of `bei serve ENGINE_DIR` to the first response."""

import socket
import statistics
import subprocess
import time
from pathlib import Path

from .client import request_bytes
from .results import Row, report
from .running import BEI
from .setting import Setting

POLL_S = 0.002


def seconds_to_first_answer(engine_dir: Path) -> float:
    """Start a server, send requests until it answers, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*BEI, "serve", str(engine_dir), "--port", str(port)]
    start = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while process.poll() is None:
                try:
                    with socket.create_connection(("127.0.0.1", port)) as connection:
                        connection.sendall(request_bytes(["the first text"]))
                        if connection.recv(16).startswith(b"HTTP/1.1 200"):
                            return time.perf_counter() - start
                except ConnectionError:
                    time.sleep(POLL_S)
            raise RuntimeError("the server did not start")
        finally:
            process.terminate()


def run(setting: Setting) -> list[Row]:
    """The median of several starts, after a first one that fills the page cache."""
    path = setting.engine_dir().path
    seconds = [seconds_to_first_answer(path) for _ in range(setting.count(9) + 1)][1:]
    rows = [Row("process start to first embedding, s", statistics.median(seconds), "{:.2f}", 0.6, is_at_most=True)]
    report("startup", setting.about(), {"seconds": [round(s, 3) for s in seconds]}, rows)
    return rows
