"""A request and its response on a connection: subclasses of uvicorn's cycle and flow control. No parsing."""

import asyncio
import socket
import struct
from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

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
    """A cycle that closes the connection if the response starts before the whole body has arrived."""

    is_last_answer: Callable[[], bool]
    """Returns whether the connection closes after this response."""

    on_begin: Callable[[], None]
    """Called when the head of the response has been written."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the response."""
        is_head = message["type"] == "http.response.start"
        if is_head and (self.more_body or self.is_last_answer()):
            self.keep_alive = False
        await super().send(message)
        if is_head:
            self.on_begin()
