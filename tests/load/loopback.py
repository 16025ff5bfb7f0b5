"""A loopback server with a known service time, stalls and statuses. Interim responses precede the final ones."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from openbei.load.server import Server

Answer = Callable[[int], tuple[float, int]]
"""Number of a request → delay in seconds, and status."""


class Loopback:
    """Answers each request after a delay; the bodies and heads that it received. `stall` holds back all answers."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._stall = (-1, 0.0)
        self.num_running = self.max_running = 0
        self.received: list[tuple[bytes, bytes]] = []
        self.is_running = asyncio.Event()
        self.is_running.set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.received.append((head, await reader.readexactly(length)))
                self._stall_at(len(self.received) - 1)
                delay, status = self._answer(len(self.received) - 1)
                self.num_running += 1
                self.max_running = max(self.max_running, self.num_running)
                await asyncio.sleep(delay)
                await self.is_running.wait()
                self.num_running -= 1
                if not status:
                    break
                writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def stall(self, number: int, seconds: float) -> None:
        """Answer nothing from the arrival of a request on, for some seconds."""
        self._stall = (number, seconds)

    def _stall_at(self, number: int) -> None:
        if number == self._stall[0]:
            self.is_running.clear()
            asyncio.get_running_loop().call_later(self._stall[1], self.is_running.set)


@asynccontextmanager
async def loopback(answer: Answer = lambda _: (0.0, 200)) -> AsyncIterator[tuple[Loopback, Server]]:
    """A running server on a free port."""
    handler = Loopback(answer)
    listening = await asyncio.start_server(handler.handle, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()
        yield handler, Server(label="loopback", host=host, port=port, path="/v1/embeddings", model="m")
