"""`bei serve --front-processes`: the answers of one process, the metrics of all, and processes that are killed."""

import http.client
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pytest

from openbei.engine_dir import EngineDir
from openbei.serving.process import ENGINE_LOST_STATUS

from ..checkpoint import build_engine, save_model, write_chain, write_json
from ..prose import texts
from .conftest import Run, serving

TEXTS = texts(12, longest=60, seed=3)
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/embed", {"model": "embedder", "inputs": TEXTS}),
    ("/v1/embeddings", {"model": "embedder", "input": TEXTS[0]}),
    ("/embed_all", {"model": "embedder", "inputs": TEXTS}),
    ("/rerank", {"model": "reranker", "query": TEXTS[0], "texts": TEXTS[1:]}),
    ("/predict_tokens", {"model": "tagger", "inputs": TEXTS, "aggregation_strategy": "simple"}),
    ("/embed_sparse", {"model": "sparse", "inputs": TEXTS}),
    ("/tokenize", {"model": "sparse", "inputs": TEXTS}),
    ("/embed", {"model": "embedder", "inputs": []}),
    ("/embed", {"model": "tagger", "inputs": TEXTS}),
    ("/embed", {"model": "nobody", "inputs": TEXTS}),
)
NUM_FRONTS = 3


@dataclass(frozen=True)
class Fronts:
    """A server with fronts, the ids of its processes, and its log, which a thread reads."""

    server: "subprocess.Popen[str]"
    url: str
    engine: int
    fronts: list[int]
    log: list[str]

    def await_line(self, text: str) -> None:
        """Wait until the log has a line."""
        for _ in range(1000):
            if any(text in line for line in self.log):
                return
            Event().wait(0.01)
        raise AssertionError(f"{text!r} is not in the log")


@contextmanager
def with_fronts(*arguments: object, variables: dict[str, str]) -> Iterator[Fronts]:
    """`bei serve` with NUM_FRONTS fronts."""
    command = (*arguments, "--front-processes", NUM_FRONTS, "--no-verify", "--threads", 1)
    with serving(*command, variables=variables) as (server, url, log):
        found = re.search(r"engine process: (\d+); front processes: ([\d, ]+)", "".join(log))
        assert found
        assert server.stderr
        Thread(target=log.extend, args=[server.stderr], daemon=True).start()
        yield Fronts(server, url, int(found[1]), [int(one) for one in found[2].split(", ")], log)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory, tokenizer_json: Path) -> Path:
    """An engine directory of a model with term weights."""
    folder = tmp_path_factory.mktemp("sparse")
    checkpoint = save_model(folder / "sparse", tokenizer_json, "BertForMaskedLM")
    write_chain(checkpoint, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(checkpoint / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    return build_engine(checkpoint, folder / "engine").path


def answers(url: str) -> list[tuple[int, bytes]]:
    return [
        (answer.status_code, answer.content)
        for path, request in REQUESTS
        for answer in [httpx.post(url + path, json=request, timeout=60)]
    ]


def total(url: str, name: str) -> float:
    """The sum of the series of a metric."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))


def test_answers_and_metrics(engines: dict[str, Path], sparse: Path, variables: dict[str, str]) -> None:
    """Of all tasks, and of errors, to the last bit; the metrics count each request once, whichever front answers."""
    names = [option for name in (*engines, "sparse") for option in ("--served-model-name", name)]
    arguments = (*engines.values(), sparse, *names)
    with serving(*arguments, "--no-verify", "--threads", 1, variables=variables) as (_, url, _):
        expected = answers(url)
    assert [status for status, _ in expected] == [200] * 7 + [400, 424, 404]
    with with_fronts(*arguments, variables=variables) as one:
        with ThreadPoolExecutor(2) as threads:
            assert [*threads.map(answers, [one.url] * 2)] == [expected] * 2
        num_requests = [total(one.url, "openbei_http_requests_total") for _ in range(3)]
        assert num_requests == [2 * len(REQUESTS) + i for i in range(3)]
        assert total(one.url, "te_request_count") == 2 * len(REQUESTS)
        assert httpx.get(f"{one.url}/health").status_code == 200
        assert httpx.get(f"{one.url}/info").json()["models"][0]["model_id"]
        assert_drains(one)


def assert_drains(one: Fronts) -> None:
    """A request that a front has is answered after SIGTERM, and the server ends with status 0."""
    path, request = REQUESTS[0]
    body = json.dumps(request).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    connection = http.client.HTTPConnection(one.url.removeprefix("http://"), timeout=60)
    connection.connect()
    connection.sock.sendall(head.encode())
    assert connection.sock.recv(100).startswith(b"HTTP/1.1 100 ")  # the front waits for the body
    one.server.send_signal(signal.SIGTERM)
    one.await_line("shutting down")
    connection.sock.sendall(body)
    answer = http.client.HTTPResponse(connection.sock)
    answer.begin()
    assert answer.status == 200
    assert len(json.loads(answer.read())) == len(TEXTS)
    assert one.server.wait(30) == 0


def test_processes_that_are_killed(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    """A front loses only its own requests, and is replaced. The end of the engine process ends all."""
    with with_fronts(tiny_engine_dir.path, variables=variables) as one:
        stop = Event()

        def send(_: int) -> list[bool]:
            """Whether each request of a connection, which is opened again after a failure, was answered."""
            answered = []
            with httpx.Client(base_url=one.url, timeout=30) as client:
                while not stop.is_set():
                    try:
                        answered.append(client.post("/embed", json={"inputs": "a text"}).status_code == 200)
                    except httpx.TransportError:
                        answered.append(False)
            return answered

        with ThreadPoolExecutor(8) as threads:
            results = threads.map(send, range(8))
            os.kill(one.fronts[0], signal.SIGKILL)
            one.await_line(f"front process {one.fronts[0]} has ended (-9)")
            before = total(one.url, "te_request_success")
            while total(one.url, "te_request_success") < before + 100:
                Event().wait(0.01)
            stop.set()
            failures = [found.count(False) for found in results]
        assert max(failures) <= 1, "a request that is sent again is answered"
        os.kill(one.engine, signal.SIGKILL)
        assert one.server.wait(30) == ENGINE_LOST_STATUS
        for process in one.fronts:
            with pytest.raises(ProcessLookupError):
                os.kill(process, 0)


def test_a_model_that_cannot_be_loaded(tiny_engine_dir: EngineDir, bei: Run) -> None:
    """The error is shown once, and the status is that of one process."""
    done = bei("serve", tiny_engine_dir.path, "--port", 0, "--front-processes", 2, "--isa", "nonsense")
    assert (done.returncode, done.stderr.count("error: ")) == (1, 1)
    assert "nonsense" in done.stderr
    assert not re.search(r"front process \d+ has ended", done.stderr)


def test_models_with_one_name(tiny_engine_dir: EngineDir, bei: Run) -> None:
    done = bei("serve", tiny_engine_dir.path, tiny_engine_dir.path, "--port", 0, "--front-processes", 2)
    assert (done.returncode, done.stderr.count("error: two models have the name ")) == (2, 1)
