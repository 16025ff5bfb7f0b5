"""Many clients at once over real connections: everyone gets the answer to the own request, and overload passes."""

import asyncio
import base64
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from openbei.batch import Vectors
from openbei.serving.fake_engine import FakeEngine
from tests.small_tokenizer import ids, words

NUM_CLIENTS, NUM_REQUESTS = 64, 100_000
ENGINE = FakeEngine()


@contextmanager
def fake_server(delay_ms: int, max_requests: int) -> Iterator[int]:
    """Gives the port of a server in a process of its own."""
    command = [sys.executable, "-m", "tests.clients.fake_server", str(delay_ms), str(max_requests)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            ready = next(found for line in server.stderr if (found := re.search(r"http://127.0.0.1:(\d+)", line)))
            yield int(ready[1])
        finally:
            server.kill()


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
        body = json.dumps(request).encode()
        writer.write(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (path.encode(), len(body), body))
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length
        return int(head[9:12]), await reader.readexactly(int(length[1]))


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


def test_nobody_gets_the_answer_of_another() -> None:
    async def client(number: int, port: int, turns: Iterator[int]) -> None:
        connection, pick = Connection(port), random.Random(number)
        for turn in turns:
            if turn % 97 == 0:
                await check_tokens(connection, number, pick.randrange(1, 20))
                continue
            starts = [(pick.randrange(1000), pick.randrange(1, 30)) for _ in range(1 + (turn % 10 == 0) * 3)]
            ask = tei_request if turn % 5 == 0 else openai_request
            found = await ask(connection, [words(first, count) for first, count in starts])
            expected = np.stack([ENGINE.vector(np.array(ids(first, count))) for first, count in starts])
            expected /= np.linalg.norm(expected, axis=1, keepdims=True)
            np.testing.assert_allclose(found, expected, atol=1e-6)

    async def main(port: int) -> None:
        turns = iter(range(NUM_REQUESTS))  # whoever is free takes the next
        await asyncio.gather(*(client(number, port, turns) for number in range(NUM_CLIENTS)))

    with fake_server(0, 2048) as port:
        asyncio.run(main(port))


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

    with fake_server(20, 8) as port:
        asyncio.run(main(port))
