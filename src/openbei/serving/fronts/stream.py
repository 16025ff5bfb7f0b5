"""A connection that exchanges frames: splits what it receives, and sends the frames of a loop iteration together."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import cast

from openbei.serving.fronts.frames import ALIGNMENT, HEADER, Frame, MalformedFrameError

log = logging.getLogger(__name__)


class FrameSplitter:
    """Splits a stream of bytes into frames whose bodies have at most `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._num_bytes = 0
        self._num_needed = HEADER.size

    def split(self, data: bytes) -> list[Frame]:
        """The frames that are complete with `data`. Raises MalformedFrameError for one above the limit."""
        self._chunks.append(data)
        self._num_bytes += len(data)
        if self._num_bytes < self._num_needed:
            return []
        whole = data if len(self._chunks) == 1 else b"".join(self._chunks)
        view, frames, start = memoryview(whole), [], 0
        while (frame_bytes := self._frame_bytes(view, start)) <= len(whole) - start:
            length, request_id, kind, model = HEADER.unpack_from(view, start)
            body = start + HEADER.size
            frames.append(Frame(request_id, kind, model, view[body : body + length]))
            start += frame_bytes
        self._num_needed = frame_bytes
        self._chunks = [whole[start:]]
        self._num_bytes = len(whole) - start
        return frames

    def _frame_bytes(self, view: memoryview, start: int) -> int:
        """The bytes of the frame at `start`, or of a header if that is not complete."""
        if len(view) - start < HEADER.size:
            return HEADER.size
        length: int = HEADER.unpack_from(view, start)[0]
        if length > self._max_bytes:
            raise MalformedFrameError(f"a frame has {length} bytes; the limit is {self._max_bytes}")
        return HEADER.size + length + -length % ALIGNMENT


class FrameStream(asyncio.Protocol):
    """A connection. Calls `receive` with the frames that arrive together, and `lost` at its end.

    A malformed frame, for which `receive` may raise MalformedFrameError, ends the connection.
    """

    def __init__(
        self, splitter: FrameSplitter, receive: Callable[[list[Frame]], None], lost: Callable[[], None]
    ) -> None:
        self._splitter, self._receive, self._lost = splitter, receive, lost
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._is_lost = False
        self._transport: asyncio.Transport | None = None

    async def connect(self, connection: socket.socket) -> None:
        """Use a connected socket from now on."""
        await self._loop.create_unix_connection(lambda: self, sock=connection)

    def send(self, frame: bytes) -> None:
        """Send a frame at the end of this iteration of the loop. Has no effect after the end of the connection."""
        if self._is_lost:
            return
        if not self._frames:
            self._loop.call_soon(self._flush)
        self._frames.append(frame)

    def end(self) -> None:
        """Close the connection without sending more."""
        if self._transport:
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport and self._frames:
            self._transport.write(b"".join(self._frames))
            self._frames = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the frames that wait."""
        self._transport = cast(asyncio.Transport, transport)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Pass on the frames that are complete."""
        try:
            if frames := self._splitter.split(data):
                self._receive(frames)
        except MalformedFrameError as error:
            log.error("a connection between processes ends: %s", error)
            self.end()

    def connection_lost(self, error: Exception | None) -> None:
        """Report the end of the connection."""
        self._is_lost = True
        self._frames = []
        self._lost()
