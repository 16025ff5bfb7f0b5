"""A request and its response on a connection: subclasses of uvicorn's cycle and flow control. No parsing."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from uvicorn._types import ASGISendEvent, HTTPResponseStartEvent, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from openbei.api.exchange.disconnect import EXTENSION, Disconnect
from openbei.api.exchange.refusals import Header

CLOSE: Header = (b"connection", b"close")

MAX_JOINED_BYTES = 65_536
"""Bodies up to this size are written with the head. Copying a larger one takes longer than a second write."""

DROP = struct.pack("ii", 1, 0)
"""The value of SO_LINGER that makes closing send a reset and discard buffered data."""


class Flow(FlowControl):
    """Flow control that does not resume reading while it is held."""

    is_held = False

    def resume_reading(self) -> None:
        """Resume reading, unless held."""
        if not self.is_held:
            super().resume_reading()

    def hold(self, held: bool) -> None:
        """Pause reading and keep it paused if `held`, else resume it."""
        self.is_held = held
        if held:
            self.pause_reading()
        else:
            self.resume_reading()


class LingeringTransport:
    """A transport with replaced `write` and `close`, so that closing lets the client read the response first."""

    def __init__(self, transport: asyncio.Transport, write: Callable[[bytes], None], close: Callable[[], None]) -> None:
        self.write = write
        self.is_closing = transport.is_closing
        self.close = close


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a reset. The kernel discards data that the client has not read."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DROP)
    transport.abort()


class Exchange(RequestResponseCycle):
    """A cycle that writes head and body together. The app sends a head with content-length, then the whole body.

    Closes the connection if the response starts before the whole body of the request has arrived.
    """

    is_last_answer: Callable[[], bool]
    """Returns whether the connection closes after this response."""

    on_begin: Callable[[], None]
    """Called before the response is written."""

    _head: HTTPResponseStartEvent | None = None

    def __init__(self, *, scope: HTTPScope, **arguments: Any) -> None:  # noqa: ANN401
        self._disconnect = Disconnect()
        scope["extensions"] = {EXTENSION: self._disconnect}  # type: ignore[dict-item]
        super().__init__(scope=scope, **arguments)

    def abandon(self) -> None:
        """The client will not read the response."""
        self.disconnected = True
        self.message_event.set()
        self._disconnect.set()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the response."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = message
            return
        if self._head is None or message["type"] != "http.response.body" or message.get("more_body"):
            raise RuntimeError(f"{message['type']} is not the next part of a response")
        self._write(self._head, message["body"])
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _write(self, message: HTTPResponseStartEvent, body: bytes) -> None:
        headers = [*self.default_headers, *message["headers"]]
        if self.more_body or self.is_last_answer() or CLOSE in headers:
            self.keep_alive = False
        if not self.keep_alive and CLOSE not in headers:
            headers.append(CLOSE)
        head = response_head(message["status"], headers)
        self.on_begin()
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif len(body) > MAX_JOINED_BYTES:
            self.transport.write(head)
            self.transport.write(body)
        else:
            self.transport.write(head + body)


def response_head(status: int, headers: Iterable[Header]) -> bytes:
    """The head of a response, as HTTP/1.1. Raises RuntimeError for a header with a line break."""
    lines = [STATUS_LINE[status][:-2], *(b"%s: %s" % header for header in headers)]
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise RuntimeError("a header of the response has a line break")
    return head + b"\r\n\r\n"
