"""A request's body: read, inflated, bounded, and decoded; large ones outside the event loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from openbei.api.exchange.call import Call
from openbei.api.exchange.decoding import Fields, check_size, decode, given_fields
from openbei.api.limits import Limits

T = TypeVar("T")

INLINE_BYTES = 262_144
"""Up to here a body is decoded at once (less than a millisecond); a larger one in a thread."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body, and the fields in it that are not null."""

    content: bytes
    given: Fields

    async def decode(self, decoder: "msgspec.json.Decoder[T]") -> T:
        """The request. Raises MalformedBodyError, InputError."""
        return await _outside_if_large(self.content, lambda content: decode(content, decoder))


EMPTY = Body(b"", {})


async def read_body(call: Call, limits: Limits) -> Body:
    """The body of a request. Raises BodyTooLargeError, MalformedBodyError, InputError, and what `Call.body` does."""
    return await open_body(await call.body(limits.max_body_bytes, limits.max_inflated_bytes))


async def open_body(content: bytes) -> Body:
    """A body that has been read. Raises MalformedBodyError, and InputError for too many values."""
    return await _outside_if_large(content, _opened)


def _opened(content: bytes) -> Body:
    check_size(content)
    return Body(content, given_fields(content))


async def _outside_if_large(content: bytes, function: Callable[[bytes], T]) -> T:
    return function(content) if len(content) <= INLINE_BYTES else await asyncio.to_thread(function, content)
