"""An HTTP client on raw sockets, which takes little CPU time, and the event loop that it needs."""

import asyncio
import select
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import httptools

from openbei.load.server import Server

T = TypeVar("T")


class PreciseSelector(selectors.DefaultSelector):
    """A selector with timeouts in microseconds. Those of epoll are whole milliseconds, so each wait would be longer."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events of the registered files."""
        if timeout is not None and timeout > 0:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop with a precise selector."""
    loop = asyncio.SelectorEventLoop(PreciseSelector())
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


class Connection(asyncio.Protocol):
    """A connection that sends one request at a time, and reads only the status of the response."""

    _transport: asyncio.Transport
    _status: asyncio.Future[int] | None = None
    is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self.is_open = True

    async def send(self, request: bytes) -> int:
        """Send a request and wait for the whole response; its status. Raises OSError if the connection ends."""
        self._status = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._status

    def close(self) -> None:
        """Close the connection without waiting."""
        self.is_open = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse a part of a response."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"not HTTP: {error}"))
            self.close()

    def on_message_complete(self) -> None:
        """Report the status of a complete response (called by the parser). Those below 200 precede the response."""
        if self._parser.get_status_code() < 200:
            return
        self.is_open = self.is_open and self._parser.should_keep_alive()
        if self._status and not self._status.done():
            self._status.set_result(self._parser.get_status_code())

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the pending request."""
        self.is_open = False
        self._fail(error if isinstance(error, OSError) else ConnectionResetError("closed before the response"))

    def _fail(self, error: OSError) -> None:
        if self._status and not self._status.done():
            self._status.set_exception(error)


class Client:
    """Up to `max_connections` connections to a server. A request waits in order until one of them is free."""

    def __init__(self, server: Server, max_connections: int) -> None:
        self._server = server
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(max_connections)
        self.num_waits = 0
        """Requests that had to wait because all connections were in use."""

    async def send(self, request: bytes) -> int:
        """Send a request; the status of its response. Raises OSError."""
        self.num_waits += self._free.locked()
        async with self._free:
            connection = await self._connection()
            try:
                status = await connection.send(request)
            except BaseException:
                connection.close()
                raise
            if connection.is_open:
                self._idle.append(connection)
            else:
                connection.close()
            return status

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def _connection(self) -> Connection:
        while self._idle:
            if (connection := self._idle.pop()).is_open:
                return connection
        server = self._server
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, server.host, server.port, ssl=server.tls)
        return connection
