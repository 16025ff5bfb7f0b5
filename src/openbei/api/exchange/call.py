"""One HTTP request over raw ASGI: reads the body within limits, and waits for a result while the client is connected.

Starlette's Request and Response are not used: they would take longer than the rest of a short request.
"""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TypeVar

from starlette.types import Receive, Scope

from openbei.api.exchange.bodies import Bodies
from openbei.api.exchange.compression import inflated
from openbei.api.exchange.disconnect import EXTENSION, ClientDisconnectError, Disconnect
from openbei.api.exchange.refusals import BodyTooLargeError, Header
from openbei.api.limits import Totals
from openbei.batch import Sequence
from openbei.errors import DeadlineError, InputError

T = TypeVar("T")


@dataclass(slots=True)
class Measured:
    """The cost of one request, for headers, metrics, logs and traces. Times are in seconds."""

    num_inputs: int = 0
    num_characters: int = 0
    num_tokens: int = 0
    num_truncated: int = 0
    tokenization_s: float = 0.0
    queue_s: float = 0.0
    inference_s: float = 0.0

    def add_tokenization(self, sequences: list[Sequence], num_characters: int, seconds: float) -> None:
        """Add tokenized inputs."""
        self.tokenization_s += seconds
        self.num_characters += num_characters
        self.num_inputs += len(sequences)
        for sequence in sequences:
            self.num_tokens += sequence.num_tokens_given
            self.num_truncated += sequence.is_truncated


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: an answer that is encoded in a type the client accepts, or bytes with their `content_type`.

    An answer consists of structs, lists, dicts and float32 rows. `is_dense` is set if most of it is base64.
    """

    answer: object = b""
    status: int = 200
    headers: tuple[Header, ...] = ()
    content_type: bytes | None = None
    is_dense: bool = False


class Call:
    """A request as a handler sees it. Every wait raises ClientDisconnectError once the client has disconnected."""

    def __init__(self, scope: Scope, receive: Receive, bodies: Bodies) -> None:
        self._scope = scope
        self._receive = receive
        self._disconnect: Disconnect = scope["extensions"][EXTENSION]
        self._bodies = bodies
        self._num_bytes_held = 0
        self.arrival_s = time.monotonic()
        self.measured = Measured()
        self.totals = Totals()
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        """Headers by lower-case name; the last one wins if a name is repeated."""

    @property
    def path(self) -> str:
        """The path as the client sent it, including a platform's prefix."""
        path: str = self._scope["path"]
        return path

    def remaining_s(self) -> float:
        """The time until the client's deadline, in seconds; infinite without one.

        Clients set it with `request-timeout-ms` (from arrival) or `request-deadline-ms` (Unix time).
        """
        timeout_ms, deadline_ms = self._number(b"request-timeout-ms"), self._number(b"request-deadline-ms")
        timeout_s = math.inf if timeout_ms is None else self.arrival_s + timeout_ms / 1000 - time.monotonic()
        until_deadline_s = math.inf if deadline_ms is None else deadline_ms / 1000 - time.time()
        return min(timeout_s, until_deadline_s)

    async def body(self, max_bytes: int, max_inflated_bytes: int) -> bytes:
        """The whole body, decompressed. Raises BodyTooLargeError as soon as it exceeds `max_bytes`.

        A compressed body must not inflate to more than `max_inflated_bytes` either. Also raises the errors of
        `inflated`, and OverloadedError if the bodies of all requests exceed their limit.
        """
        num_bytes = 0
        parts: list[bytes] = []
        is_complete = (self._number(b"content-length") or 0) > max_bytes
        while not is_complete:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectError
            parts.append(message.get("body", b""))
            num_bytes += len(parts[-1])
            self._hold(len(parts[-1]))
            is_complete = num_bytes > max_bytes or not message.get("more_body", False)
        if num_bytes > max_bytes or not parts:
            raise BodyTooLargeError(max_bytes)
        whole = b"".join(parts)
        encoding = self.headers.get(b"content-encoding", b"")
        content = await inflated(whole, encoding, min(max_bytes, max_inflated_bytes))
        if content is not whole:
            self._hold(len(content))
        return content

    def close(self) -> None:
        """Release the counted bytes of the body at the end of the request."""
        self._bodies.give_back(self._num_bytes_held)
        self._num_bytes_held = 0

    def _hold(self, num_bytes: int) -> None:
        self._bodies.take(num_bytes)
        self._num_bytes_held += num_bytes

    def check_deadline(self) -> None:
        """Raise DeadlineError if the client's deadline has passed, before any work is done."""
        if self.remaining_s() <= 0:
            raise DeadlineError("the request's deadline has passed")

    async def result(self, future: "asyncio.Future[T]") -> T:
        """Wait for a result. Cancel it if the client disconnects; raise DeadlineError when its deadline passes."""
        self._disconnect.watch(future)
        is_late = False

        def expire() -> None:
            nonlocal is_late
            is_late = future.cancel()

        remaining_s = self.remaining_s()
        timer = None if remaining_s == math.inf else future.get_loop().call_later(remaining_s, expire)
        try:
            return await future
        except asyncio.CancelledError:
            if is_late:
                raise DeadlineError("the request's deadline has passed") from None
            if self._disconnect.is_set:
                raise ClientDisconnectError from None
            raise
        finally:
            self._disconnect.forget(future)
            if timer:
                timer.cancel()

    def _number(self, header: bytes) -> int | None:
        value = self.headers.get(header)
        if value is None:
            return None
        if not value.isdigit() or len(value) > 15:
            raise InputError(f"header {header.decode()} is not a whole number", param=header.decode())
        return int(value)
