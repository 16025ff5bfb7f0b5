"""A minimal HTTP client on raw sockets, so that its own CPU time hardly affects the measured server."""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence

from openbei.load.client import Connection


def request_bytes(texts: Sequence[str]) -> bytes:
    """A request to embed texts; the response is base64, the default of the `openai` client."""
    body = json.dumps({"model": "m", "input": list(texts), "encoding_format": "base64"}).encode()
    return b"POST /v1/embeddings HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + (
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )


async def connect(port: int) -> Connection:
    """A keep-alive connection to a server on this machine."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def send(connection: Connection, request: bytes) -> None:
    """Send a request and wait for the whole response. Raises RuntimeError unless its status is 200."""
    if (status := await connection.send(request)) != 200:
        raise RuntimeError(f"the server answered with status {status}")


async def _send_all(port: int, requests: Iterable[bytes], num_connections: int) -> list[float]:
    times: list[float] = []
    waiting = iter(requests)

    async def work() -> None:
        connection = await connect(port)
        for request in waiting:
            start = time.perf_counter()
            await send(connection, request)
            times.append(time.perf_counter() - start)
        connection.close()

    await asyncio.gather(*(work() for _ in range(num_connections)))
    return times


def send_all(port: int, requests: Iterable[bytes], num_connections: int = 1) -> list[float]:
    """Send requests over `num_connections` keep-alive connections; return the latency of each request in seconds."""
    import uvloop

    return uvloop.run(_send_all(port, requests, num_connections))
