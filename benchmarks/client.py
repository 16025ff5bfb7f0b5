"""A minimal HTTP client on raw sockets, so that its own CPU time hardly affects the measured server."""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from typing import cast


def request_bytes(texts: Sequence[str]) -> bytes:
    """A request to embed texts; the response is base64, the default of the `openai` client."""
    body = json.dumps({"model": "m", "input": list(texts), "encoding_format": "base64"}).encode()
    return b"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + (
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


class Connection(asyncio.Protocol):
    """A keep-alive connection that sends one request at a time."""

    transport: asyncio.Transport
    _answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and reset the received bytes."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass
        self._received = bytearray()
        self._missing = -1

    def data_received(self, data: bytes) -> None:
        """Collect bytes until the response is complete."""
        assert self._answer, "a response without a request"
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
        """Fail the pending request."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    async def send(self, request: bytes) -> None:
        """Send a request and wait for the complete response. Raises RuntimeError unless the status is 200."""
        self._received.clear()
        self._missing = -1
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        await self._answer


async def _send_all(port: int, requests: Iterable[bytes], num_connections: int) -> list[float]:
    times: list[float] = []
    waiting = iter(requests)

    async def work() -> None:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
        for request in waiting:
            start = time.perf_counter()
            await connection.send(request)
            times.append(time.perf_counter() - start)
        connection.transport.close()

    await asyncio.gather(*(work() for _ in range(num_connections)))
    return times


def send_all(port: int, requests: Iterable[bytes], num_connections: int = 1) -> list[float]:
    """Send requests over `num_connections` keep-alive connections; return the latency of each request in seconds."""
    import uvloop

    return uvloop.run(_send_all(port, requests, num_connections))
