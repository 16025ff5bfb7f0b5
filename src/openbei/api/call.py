"""One HTTP exchange over raw ASGI: reading a body within its limit, waiting while the client does, replying.

Starlette routes; its Request and Response would cost more than the rest of a short request.
"""

import asyncio
import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from openbei.errors import DeadlineError, InputError

T = TypeVar("T")
Header = tuple[bytes, bytes]


class BodyTooLargeError(InputError):
    """A body above the limit."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back."""

    body: bytes = b""
    status: int = 200
    headers: tuple[Header, ...] = ()
    content_type: bytes = b"application/json"

    async def send(self, send: Send) -> None:
        """Send it whole."""
        length = str(len(self.body)).encode()
        headers = [(b"content-type", self.content_type), (b"content-length", length), *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Call:
    """A request as a handler sees it. Every wait raises ClientDisconnect when the client has gone."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope = scope
        self._receive = receive
        self._arrival_s = time.monotonic()

    @cached_property
    def _headers(self) -> dict[bytes, bytes]:
        return dict(self._scope["headers"])

    @cached_property
    def deadline_s(self) -> float:
        """When the client's own time limit is over, on the monotonic clock; infinite if it set none.

        It sets one by `request-timeout-ms` (from arrival) or `request-deadline-ms` (Unix time).
        """
        timeout_ms, deadline_ms = self._number(b"request-timeout-ms"), self._number(b"request-deadline-ms")
        timeout_s = math.inf if timeout_ms is None else timeout_ms / 1000
        until_deadline_s = math.inf if deadline_ms is None else deadline_ms / 1000 - time.time()
        return self._arrival_s + min(timeout_s, until_deadline_s)

    async def body(self, max_bytes: int) -> bytes:
        """The whole body. Raises BodyTooLargeError as soon as it is known to be above `max_bytes`."""
        num_bytes = 0
        parts: list[bytes] = []
        is_complete = (self._number(b"content-length") or 0) > max_bytes
        while not is_complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            num_bytes += len(parts[-1])
            is_complete = num_bytes > max_bytes or not message.get("more_body", False)
        if num_bytes > max_bytes or not parts:
            raise BodyTooLargeError(f"the body is larger than {max_bytes} bytes", hint="send fewer texts at a time")
        return b"".join(parts)

    def check_deadline(self) -> None:
        """Raise DeadlineError if the client's time limit is over already, before any work is done for it."""
        if time.monotonic() >= self.deadline_s:
            raise DeadlineError("the time limit that the request set is over")

    async def result(self, future: "asyncio.Future[T]") -> T:
        """Wait for a result; cancel it if the client leaves, or raise DeadlineError when its own time limit passes."""
        watcher = asyncio.ensure_future(self._receive())
        watcher.add_done_callback(lambda _: future.cancel())
        is_late = False

        def expire() -> None:
            nonlocal is_late
            is_late = future.cancel()

        remaining_s = self.deadline_s - time.monotonic()
        timer = None if remaining_s == math.inf else future.get_loop().call_later(remaining_s, expire)
        try:
            return await future
        except asyncio.CancelledError:
            if is_late:
                raise DeadlineError("the time limit that the request set is over") from None
            if watcher.done():
                raise ClientDisconnect from None
            raise
        finally:
            watcher.cancel()
            if timer:
                timer.cancel()

    def _number(self, header: bytes) -> int | None:
        value = self._headers.get(header)
        if value is None:
            return None
        if not value.isdigit() or len(value) > 15:
            raise InputError(f"header {header.decode()} is not a whole number", param=header.decode())
        return int(value)
