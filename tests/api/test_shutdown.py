"""A real process: ready line, SIGTERM while requests arrive, are tokenized or wait, drain, exit code; descriptors."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import msgspec
import pytest

from openbei.serving.process import ENGINE_LOST_STATUS

from ..small_tokenizer import VOCAB_SIZE
from .conftest import small_manifest

PROGRAM = """
import asyncio, json, logging, resource, sys
from pathlib import Path
import msgspec
from openbei.api import pipeline
from openbei.api.app import create_app
from openbei.api.connections.gate import ConnectionLimits
from openbei.api.server import build_server, serve
from openbei.engine_dir import Manifest
from openbei.errors import EngineLostError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.served_model import schedule
from openbei.serving.tokenizer import Tokenizer

async def gated(call, work, *, is_long):
    print("tokenizing", file=sys.stderr, flush=True)
    while not gate.exists():
        await asyncio.sleep(0.01)
    return work()

options = json.loads(sys.argv[1])
gate = Path(options["gate"])
if options["is_gated"]:
    pipeline.off_loop = gated
if options["descriptors"]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (options["descriptors"],) * 2)
class Lost(FakeEngine):
    def run(self, batch, output="pooled"):
        raise EngineLostError("an illegal memory access")
engine = Lost() if options["loses_engine"] else FakeEngine(delay_s=options["delay_s"])
held = [open("/dev/null") for _ in range(options["num_files"])]
logging.basicConfig(level=logging.INFO)
metrics = Metrics()
manifest = msgspec.json.decode(sys.argv[2], type=Manifest)
tokenizer = Tokenizer(Path(options["tokenizer"]), 64, options["vocab_size"])
limits = QueueLimits(max_batch_tokens=8, engine_timeout_s=options["engine_timeout_s"])
engines = [engine] * options["num_engines"]
[served] = schedule([LoadedModel(manifest, tokenizer, *engines)], limits, metrics)
app = create_app([served], metrics=metrics)
serve(build_server(
    app, [served.scheduler], host="127.0.0.1", port=0, drain_s=options["drain_s"],
    shutdown_deadline_s=options["deadline_s"],
    connections=ConnectionLimits(request_timeout_s=options["request_timeout_s"]),
))
"""
OPTIONS = {
    "delay_s": 0.0,
    "deadline_s": 20.0,
    "drain_s": 0.0,
    "request_timeout_s": 60.0,
    "is_gated": False,
    "descriptors": 0,
    "num_files": 0,
    "engine_timeout_s": 60.0,
    "loses_engine": False,
    "num_engines": 1,
}


@dataclass(frozen=True)
class Process:
    """A server process."""

    popen: "subprocess.Popen[str]"
    port: int
    gate: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def await_line(self, text: str) -> str:
        """Read the log up to a line."""
        assert self.popen.stderr
        for line in self.popen.stderr:
            if text in line:
                return line
        raise AssertionError(f"it ended before it said {text!r}")


@pytest.fixture
def process(request: pytest.FixtureRequest, tokenizer_path: Path, tmp_path: Path) -> Iterator[Process]:
    """A server that is ready; the parameter overrides OPTIONS."""
    given = {"gate": str(tmp_path / "gate"), "tokenizer": str(tokenizer_path), "vocab_size": VOCAB_SIZE}
    options = json.dumps({**OPTIONS, **getattr(request, "param", {}), **given})
    manifest = msgspec.json.encode(small_manifest()).decode()
    command = [sys.executable, "-c", PROGRAM, options, manifest]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as started:
        try:
            one = Process(started, 0, tmp_path / "gate")
            ready = re.search(r"ready on http://127\.0\.0\.1:(\d+) \(fake on cpu", one.await_line("ready on"))
            assert ready
            yield replace(one, port=int(ready[1]))
        finally:
            started.kill()


def in_flight(url: str, statuses: list[int]) -> threading.Thread:
    """A request of ten batches on its way."""

    def ask() -> None:
        body = {"input": [f"w1 w2 w3 w4 w5 w{i}" for i in range(10)]}
        statuses.append(httpx.post(f"{url}/v1/embeddings", json=body, timeout=30).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    while 'te_queue_size{model="small"} 1.0' not in httpx.get(f"{url}/metrics").text:
        pass
    return thread


@pytest.mark.parametrize("process", [{"delay_s": 0.05}], indirect=True)
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_finish(process: Process, sent: signal.Signals) -> None:
    statuses: list[int] = []
    thread = in_flight(process.url, statuses)
    process.popen.send_signal(sent)
    assert process.popen.wait(20) == 0
    thread.join()
    assert statuses == [200]


@pytest.mark.parametrize("process", [{"delay_s": 0.5, "deadline_s": 0.2}], indirect=True)
def test_the_deadline_fails_what_is_left(process: Process) -> None:
    statuses: list[int] = []
    thread = in_flight(process.url, statuses)
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(20) == 0
    thread.join()
    assert statuses == [503]


BODY = b'{"input": "w1"}'
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(BODY)
HEALTH = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while part := connection.recv(65536):
        answer += part
    return answer


def arriving(process: Process) -> socket.socket:
    """A request whose body the server has begun to read."""
    connection = process.connect()
    connection.sendall(HEAD + b"expect: 100-continue\r\n\r\n")
    assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(BODY[:5])
    return connection


def test_a_body_on_its_way_is_read_and_answered(process: Process) -> None:
    connection = arriving(process)
    process.popen.send_signal(signal.SIGTERM)
    process.await_line("shutting down")
    connection.sendall(BODY[5:])
    answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert process.popen.wait(20) == 0


@pytest.mark.parametrize("process", [{"deadline_s": 0.2}], indirect=True)
def test_a_body_that_does_not_come_is_refused(process: Process) -> None:
    connection = arriving(process)
    process.popen.send_signal(signal.SIGTERM)
    answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"the server is shutting down" in answer
    assert process.popen.wait(20) == 0


@pytest.mark.parametrize("process", [{"is_gated": True}], indirect=True)
def test_a_request_that_is_tokenized_is_answered(process: Process) -> None:
    connection = process.connect()
    connection.sendall(HEAD + b"\r\n" + BODY)
    process.await_line("tokenizing")
    process.popen.send_signal(signal.SIGTERM)
    process.await_line("shutting down")
    process.gate.touch()
    assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    assert process.popen.wait(20) == 0


@pytest.mark.parametrize("process", [{"drain_s": 60.0}], indirect=True)
def test_while_it_drains_new_connections_are_answered(process: Process) -> None:
    kept = process.connect()
    kept.sendall(HEALTH)
    assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
    process.popen.send_signal(signal.SIGTERM)
    process.await_line("draining")
    for connection in (kept, process.connect()):
        connection.sendall(HEAD + b"\r\n" + BODY)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
    asked = httpx.get(f"{process.url}/health")
    assert asked.status_code == 503
    assert asked.headers["connection"] == "close"
    process.popen.send_signal(signal.SIGINT)  # whoever is in a hurry
    assert process.popen.wait(20) == 0


@pytest.mark.parametrize("process", [{"drain_s": 0.1}], indirect=True)
def test_after_it_drained_it_ends(process: Process) -> None:
    process.popen.send_signal(signal.SIGTERM)
    process.await_line("draining")
    process.await_line("shutting down")
    assert process.popen.wait(20) == 0


def test_a_kept_connection_gets_an_answer(process: Process) -> None:
    """A request that the client sends when the listener is closed already is answered, not cut off."""
    kept = process.connect()
    kept.sendall(HEALTH)
    assert kept.recv(65536).startswith(b"HTTP/1.1 200 ")
    process.popen.send_signal(signal.SIGTERM)
    process.await_line("shutting down")
    kept.sendall(HEAD + b"\r\n" + BODY)
    answer = read_all(kept)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert process.popen.wait(20) == 0


@pytest.mark.parametrize("process", [{"descriptors": 256, "request_timeout_s": 5.0}], indirect=True)
def test_silent_connections_do_not_shut_others_out(process: Process) -> None:
    """Where descriptors are few the server refuses in time, says so once, and lives on."""
    silent = [process.connect() for _ in range(280)]
    assert "160 connections are open" in process.await_line("which is the limit")
    for _ in range(2000):
        try:
            if httpx.get(f"{process.url}/health").status_code == 200:
                break
        except httpx.HTTPError:
            continue
    else:
        raise AssertionError("it does not recover")
    for one in silent:
        one.close()
    process.popen.send_signal(signal.SIGTERM)
    assert "shutting down" in process.await_line("")  # nothing else was logged
    assert process.popen.wait(20) == 0


@pytest.mark.parametrize("process", [{"descriptors": 256, "num_files": 150}], indirect=True)
def test_descriptors_that_run_out_are_told_of(process: Process) -> None:
    """Files and not connections took them, so the limit on connections did not help."""
    held = [process.connect() for _ in range(100)]
    assert "`ulimit -n`, which is 256" in process.await_line("no file descriptor is left")
    for one in held:
        one.close()
    for _ in range(2000):
        try:
            if httpx.get(f"{process.url}/health").status_code == 200:
                return
        except httpx.HTTPError:
            continue
    raise AssertionError("it does not recover")


@pytest.mark.parametrize("process", [{"delay_s": 60.0, "engine_timeout_s": 0.2}], indirect=True)
def test_a_server_whose_engine_hangs_ends(process: Process) -> None:
    connection = process.connect()
    connection.sendall(HEAD + b"\r\n" + BODY)
    process.await_line("a batch has been running for more than 0 s: the engine hangs, ending")
    assert process.popen.wait(20) == ENGINE_LOST_STATUS


@pytest.mark.parametrize("process", [{"loses_engine": True, "drain_s": 60.0, "num_engines": 2}], indirect=True)
def test_the_last_lost_engine_ends_the_process(process: Process) -> None:
    """At once, without draining, and with a status that supervisors see. The batch ran on both of two engines."""
    answer = httpx.post(f"{process.url}/v1/embeddings", json={"input": "a text"}, timeout=20)
    assert answer.status_code in (500, 503)
    process.await_line("is out of service; 1 of 2 engines remain")
    process.await_line("is out of service; 0 of 2 engines remain")
    process.await_line("no engine is left that can run batches")
    assert process.popen.wait(20) == 70
