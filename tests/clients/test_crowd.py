"""Many clients at once over real connections: everyone gets the answer to the own request, and overload passes.

CROWD_REQUESTS is how many requests are sent; `make soak` sends 100,000.
"""

import asyncio
import base64
import json
import os
import random
import re
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from openbei.batch import Vectors
from openbei.serving.fake_engine import FakeEngine
from tests.small_tokenizer import ids, words

NUM_CLIENTS, NUM_REQUESTS = 64, int(os.environ.get("CROWD_REQUESTS", 5_000))
FAULTS_EVERY = 30
MAX_GROWTH_BYTES = 48 * 2**20
ENGINE = FakeEngine()


@dataclass(frozen=True)
class Target:
    """A server in a process of its own."""

    port: int
    pid: int

    @property
    def resident_bytes(self) -> int:
        """Its memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def fake_server(delay_ms: int, max_requests: int) -> Iterator[Target]:
    """Start one."""
    command = [sys.executable, "-m", "tests.clients.fake_server", str(delay_ms), str(max_requests)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            ready = next(found for line in server.stderr if (found := re.search(r"http://127.0.0.1:(\d+)", line)))
            yield Target(int(ready[1]), server.pid)
        finally:
            server.kill()


def request_bytes(path: str, request: object, *headers: str) -> bytes:
    """A request as it goes over the wire."""
    body = json.dumps(request).encode()
    lines = [f"POST {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length
    return int(head[9:12]), await reader.readexactly(int(length[1]))


@dataclass
class Connection:
    """One kept-open connection: HTTP by hand, so that the client leaves the server a core."""

    port: int
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)

    async def post(self, path: str, request: object) -> tuple[int, bytes]:
        """Status and body."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(request_bytes(path, request))
        return await read_answer(reader)

    async def get(self, path: str) -> str:
        """Body of a GET on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        _, body = await read_answer(reader)
        writer.close()
        return body.decode()


async def openai_request(connection: Connection, texts: list[str]) -> Vectors:
    """Embeddings in base64."""
    status, body = await connection.post("/v1/embeddings", {"input": texts, "encoding_format": "base64"})
    assert status == 200, body
    return np.array([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in json.loads(body)["data"]])


async def tei_request(connection: Connection, texts: list[str]) -> Vectors:
    """Embeddings in numbers."""
    status, body = await connection.post("/embed", {"inputs": texts})
    assert status == 200, body
    return np.array(json.loads(body), np.float32)


async def check_tokens(connection: Connection, client: int, count: int) -> None:
    """Vectors of tokens, which run in batches of their own."""
    status, body = await connection.post("/embed_all", {"inputs": words(client, count)})
    assert status == 200, body
    expected = [ENGINE.vector(np.array([token_id])) for token_id in ids(client, count)]
    np.testing.assert_allclose(json.loads(body)[0], expected, atol=1e-6)


Fault = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[set[int]]]
"""What a client does to a connection of its own, for the n-th time; the statuses that it got."""

GOOD = request_bytes("/v1/embeddings", {"input": [words(1, 20)] * 5})


def close_with_reset(writer: asyncio.StreamWriter) -> None:
    """Let closing send a reset, as when a process is killed."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def cut_anywhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> set[int]:
    """Hang up in the head or in the body."""
    writer.write(GOOD[: random.Random(count).randrange(1, len(GOOD))])
    await asyncio.sleep(0.01 * (count % 2))
    return set()


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> set[int]:
    """Hang up while the answer is made or sent."""
    writer.write(GOOD)
    await asyncio.sleep((0, 0.001, 0.01)[count % 3])
    return set()


async def send_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> set[int]:
    """Bytes that are no HTTP, or a body that is no JSON, no gzip or no request."""
    text = {"inputs": "w1"}
    garbage = [
        random.Random(count).randbytes(200) + b"\r\n\r\n",
        *(request_bytes("/embed", text, f"content-encoding: {name}") for name in ("gzip", "zstd", "br")),
        *(request_bytes("/embed", value) for value in ([], 7, {"inputs": [[[]]]}, {"inputs": ""}, {"texts": "w1"})),
    ]
    writer.write(garbage[count % len(garbage)])
    return {(await read_answer(reader))[0]}


async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> set[int]:
    """Read a large answer a little at a time; it is the right one."""
    texts = [words(start, 3) for start in range(200)]
    writer.write(request_bytes("/embed", {"inputs": texts}, "connection: close"))
    answer = b""
    while part := await reader.read(4096):
        answer += part
        await asyncio.sleep(0.005)
    head, _, body = answer.partition(b"\r\n\r\n")
    np.testing.assert_allclose(json.loads(body), expected_vectors([(start, 3) for start in range(200)]), atol=1e-6)
    return {int(head[9:12])}


async def have_no_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> set[int]:
    """A time limit that passes at once, or just about."""
    writer.write(request_bytes("/embed", {"inputs": [words(1, 30)] * 50}, f"request-timeout-ms: {count % 3}"))
    return {(await read_answer(reader))[0]}


FAULTS: tuple[Fault, ...] = (cut_anywhere, leave, send_garbage, read_slowly, have_no_time)


async def commit_fault(port: int, number: int) -> set[int]:
    """Commit a fault on a connection of its own, another one for each number."""
    count, kind = divmod(number, len(FAULTS))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        with suppress(asyncio.IncompleteReadError, ConnectionResetError):
            return await FAULTS[kind](reader, writer, count)
        return set()
    finally:
        if count % 2:
            close_with_reset(writer)
        writer.close()


def expected_vectors(starts: list[tuple[int, int]]) -> Vectors:
    """What texts of so many words from some word on are embedded to."""
    rows = np.stack([ENGINE.vector(np.array(ids(first, count))) for first, count in starts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_nobody_gets_the_answer_of_another() -> None:
    """Nor is one lost, though others cut their bodies, hang up, send garbage and read slowly all the time."""
    statuses: Counter[int] = Counter()
    sizes: list[int] = []
    num_answers = 0

    async def client(number: int, target: Target, turns: Iterator[int]) -> None:
        nonlocal num_answers
        connection, pick = Connection(target.port), random.Random(number)
        for turn in turns:
            if turn % (NUM_REQUESTS // 10) == 0:
                sizes.append(target.resident_bytes)
            if turn % FAULTS_EVERY == 0:
                statuses.update(await commit_fault(target.port, turn // FAULTS_EVERY))
            num_answers += 1
            if turn % 97 == 0:
                await check_tokens(connection, number, pick.randrange(1, 20))
                continue
            starts = [(pick.randrange(1000), pick.randrange(1, 30)) for _ in range(1 + (turn % 10 == 0) * 3)]
            ask = tei_request if turn % 5 == 0 else openai_request
            found = await ask(connection, [words(first, count) for first, count in starts])
            np.testing.assert_allclose(found, expected_vectors(starts), atol=1e-6)

    async def main(target: Target) -> str:
        turns = iter(range(NUM_REQUESTS))  # whoever is free takes the next
        await asyncio.gather(*(client(number, target, turns) for number in range(NUM_CLIENTS)))
        return await Connection(target.port).get("/metrics")

    with fake_server(0, 2048) as target:
        metrics = asyncio.run(main(target))
        sizes.append(target.resident_bytes)
    assert num_answers == NUM_REQUESTS
    assert set(statuses) == {200, 400, 408, 415, 422}
    assert not re.search(r'^openbei_http_requests_total\{.*status="5', metrics, re.MULTILINE)
    assert re.search(r"^te_queue_size{.*} 0.0$", metrics, re.MULTILINE)
    assert re.search(r"^openbei_queue_tokens{.*} 0.0$", metrics, re.MULTILINE)
    assert max(sizes) - sizes[1] < MAX_GROWTH_BYTES, sizes


def test_overload_is_refused_and_passes() -> None:
    """With ten times the clients that are let in there are answers and refusals, nothing else; then only answers."""

    async def main(port: int) -> None:
        seen: Counter[int] = Counter()

        async def client() -> None:
            connection = Connection(port)
            for _ in range(40):
                status, body = await connection.post("/v1/embeddings", {"input": words(1, 20)})
                seen[status] += 1
                assert status == 200 or json.loads(body)["error"]["code"] == "overloaded"

        await asyncio.gather(*(client() for _ in range(80)))
        assert set(seen) == {200, 429}, seen
        connection = Connection(port)
        for _ in range(8):  # the crowd has gone: at once, and well within a second
            status, _ = await asyncio.wait_for(connection.post("/v1/embeddings", {"input": "w1"}), 1)
            assert status == 200

    with fake_server(20, 8) as target:
        asyncio.run(main(target.port))
