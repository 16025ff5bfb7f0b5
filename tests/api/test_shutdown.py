"""A real process: ready line, SIGTERM while requests wait, exit code."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from ..small_tokenizer import VOCAB_SIZE
from .conftest import small_manifest

PROGRAM = """
import logging, sys
from pathlib import Path
import msgspec
from openbei.api.app import create_app
from openbei.api.server import serve
from openbei.engine_dir import Manifest
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import QueueLimits, Scheduler
from openbei.serving.tokenizer import Tokenizer

path, vocab_size, delay_s, deadline_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
logging.basicConfig(level=logging.INFO)
metrics = Metrics()
scheduler = Scheduler(FakeEngine(delay_s=delay_s), QueueLimits(max_batch_tokens=8), metrics)
app = create_app(
    manifest=msgspec.json.decode(sys.argv[5], type=Manifest), tokenizer=Tokenizer(Path(path), 64, vocab_size),
    scheduler=scheduler, metrics=metrics,
)
serve(app, scheduler, host="127.0.0.1", port=0, shutdown_deadline_s=deadline_s)
"""


@pytest.fixture
def process(request: pytest.FixtureRequest, tokenizer_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its URL."""
    manifest = msgspec.json.encode(small_manifest()).decode()
    arguments = [str(tokenizer_path), str(VOCAB_SIZE), *map(str, request.param), manifest]
    started = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True)
    try:
        assert started.stderr
        url = None
        while url is None:
            line = started.stderr.readline()
            assert line, "it ended before it was ready"
            url = re.search(r"ready on (http://127\.0\.0\.1:\d+) \(fake\)", line)
        yield started, url[1]
    finally:
        started.kill()
        started.wait()


def in_flight(url: str, statuses: list[int]) -> threading.Thread:
    """A request of ten batches on its way."""

    def ask() -> None:
        body = {"input": ["w1 w2 w3 w4 w5 w6"] * 10}
        statuses.append(httpx.post(f"{url}/v1/embeddings", json=body, timeout=30).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    while "te_queue_size 1.0" not in httpx.get(f"{url}/metrics").text:
        pass
    return thread


@pytest.mark.parametrize("process", [(0.05, 20)], indirect=True)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_finish(process: tuple[subprocess.Popen[str], str], sent: signal.Signals) -> None:
    server, url = process
    statuses: list[int] = []
    thread = in_flight(url, statuses)
    server.send_signal(sent)
    assert server.wait(20) == 0
    thread.join()
    assert statuses == [200]


@pytest.mark.parametrize("process", [(0.5, 0.2)], indirect=True)
def test_the_deadline_fails_what_is_left(process: tuple[subprocess.Popen[str], str]) -> None:
    server, url = process
    statuses: list[int] = []
    thread = in_flight(url, statuses)
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0
    thread.join()
    assert statuses == [503]
