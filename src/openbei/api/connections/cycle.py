"""One request and its answer on a connection: uvicorn's cycle, flow control and transport, adapted. No parsing."""

import asyncio
import socket
import struct
from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

DROP = struct.pack("ii", 1, 0)
"""The value of SO_LINGER with which closing sends a reset, and nothing else."""


class Flow(FlowControl):
    """Flow control that does not resume reading while it is held."""

    is_held = False

    def resume_reading(self) -> None:
        """Resume reading, unless held."""
        if not self.is_held:
            super().resume_reading()

    def hold(self, held: bool) -> None:
        """Pause reading, or resume it."""
        self.is_held = held
        if held:
            self.pause_reading()
        else:
            self.resume_reading()


class LingeringTransport:
    """A transport that closes once the client has had time to read."""

    def __init__(self, transport: asyncio.Transport, write: Callable[[bytes], None], close: Callable[[], None]) -> None:
        self.write = write
        self.is_closing = transport.is_closing
        self.close = close


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a reset. The kernel drops what the client has not read."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, DROP)
    transport.abort()


class Exchange(RequestResponseCycle):
    """A cycle that closes the connection if it answers before the whole body has arrived."""

    is_last_answer: Callable[[], bool]
    """Whether the connection closes after this answer anyway."""

    on_begin: Callable[[], None]
    """Called when the head of the answer is written."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer."""
        is_head = message["type"] == "http.response.start"
        if is_head and (self.more_body or self.is_last_answer()):
            self.keep_alive = False
        await super().send(message)
        if is_head:
            self.on_begin()
