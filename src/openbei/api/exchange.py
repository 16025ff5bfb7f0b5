"""One request and its answer on a connection: uvicorn's exchange, which closes when it should. No parsing."""

import asyncio
from collections.abc import Callable

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class Flow(FlowControl):
    """Flow control that does not read on while it is held, whoever asks for it."""

    is_held = False

    def resume_reading(self) -> None:
        """Read on, unless held."""
        if not self.is_held:
            super().resume_reading()

    def hold(self, held: bool) -> None:
        """Stop reading, or read on."""
        self.is_held = held
        if held:
            self.pause_reading()
        else:
            self.resume_reading()


class LingeringTransport:
    """A transport that closes only when the client has had time to read."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


class Exchange(RequestResponseCycle):
    """An answer before the whole body has come is the connection's last: what follows is not read as a request."""

    is_last_answer: Callable[[], bool]
    """Whether the connection closes after this answer anyway."""

    async def send(self, message: ASGISendEvent) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start" and (self.more_body or self.is_last_answer()):
            self.keep_alive = False
        await super().send(message)
