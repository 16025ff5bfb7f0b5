"""A client that costs next to nothing, so that on few cores the server is what is measured: bytes over open sockets."""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import cast


def request_bytes(texts: Sequence[str]) -> bytes:
    """One request to embed texts, answered in base64 as the `openai` client asks for it."""
    body = json.dumps({"model": "m", "input": list(texts), "encoding_format": "base64"}).encode()
    return b"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + (
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


class Connection(asyncio.Protocol):
    """One kept-open connection, one request at a time."""

    transport: asyncio.Transport
    _answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._received = bytearray()
        self._missing = -1

    def data_received(self, data: bytes) -> None:
        """Count bytes until the answer is whole."""
        assert self._answer, "an answer that nobody asked for"
        self._received += data
        if self._missing < 0 and (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            if not head.startswith(b"http/1.1 200"):
                self._answer.set_exception(RuntimeError(bytes(self._received).decode()))
                return
            start = head.index(b"content-length:") + len(b"content-length:")
            self._missing = end + 4 + int(head[start:].split(b"\r\n", 1)[0])
        if 0 <= self._missing <= len(self._received) and not self._answer.done():
            self._answer.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what waits."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    async def ask(self, request: bytes) -> None:
        """Send a request and wait for the whole of a good answer."""
        self._received.clear()
        self._missing = -1
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._answer


async def _ask_all(port: int, requests: Iterable[bytes], num_connections: int) -> list[float]:
    times: list[float] = []
    waiting = iter(requests)

    async def work() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        for request in waiting:
            start = time.perf_counter()
            await connection.ask(request)
            times.append(time.perf_counter() - start)
        connection.transport.close()

    await asyncio.gather(*(work() for _ in range(num_connections)))
    return times


def ask_all(port: int, requests: Iterable[bytes], num_connections: int = 1) -> list[float]:
    """Send requests over so many connections, each as soon as the last is answered; seconds of every request."""
    import uvloop

    return uvloop.run(_ask_all(port, requests, num_connections))
