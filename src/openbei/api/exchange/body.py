"""Reading, decompression and decoding of a request's body, with limits. Large bodies are decoded in a thread."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from openbei.api.exchange.call import Call
from openbei.api.exchange.decoding import Fields, check_size, decode, non_null_fields
from openbei.api.limits import Limits

T = TypeVar("T")

INLINE_BYTES = 262_144
"""Bodies up to this size are decoded on the event loop (less than a millisecond), larger ones in a thread."""


@dataclass(frozen=True, slots=True)
class Body:
    """A body, and its fields that are not null."""

    content: bytes
    fields: Fields

    async def decode(self, decoder: "msgspec.json.Decoder[T]") -> T:
        """The request. Raises MalformedBodyError, InputError."""
        return await _outside_if_large(self.content, lambda content: decode(content, decoder))


EMPTY = Body(b"", {})


async def read_body(call: Call, limits: Limits) -> Body:
    """The body of a request.

    Raises BodyTooLargeError, MalformedBodyError, InputError, and the errors of `Call.body`.
    """
    return await open_body(await call.body(limits.max_body_bytes, limits.max_inflated_bytes))


async def open_body(content: bytes) -> Body:
    """Decode a body that has been read. Raises MalformedBodyError, and InputError for too many values."""
    return await _outside_if_large(content, _opened)


def _opened(content: bytes) -> Body:
    check_size(content)
    return Body(content, non_null_fields(content))


async def _outside_if_large(content: bytes, function: Callable[[bytes], T]) -> T:
    return function(content) if len(content) <= INLINE_BYTES else await asyncio.to_thread(function, content)
