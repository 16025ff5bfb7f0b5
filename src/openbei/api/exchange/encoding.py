"""Encoding of responses as JSON or MessagePack, without a Python object for each float32."""

import base64
from collections.abc import Collection
from types import NoneType
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from openbei.api.exchange.accept import weights
from openbei.batch import Vectors
from openbei.errors import EngineError
from openbei.json_floats import json_row

JSON = b"application/json"

MESSAGE_PACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack", "application/messagepack")


INLINE_NUMBERS = 8_192
"""Responses up to this size are encoded and compressed on the event loop (about a millisecond), others in a thread."""

OBJECT_NUMBERS, TEXT_NUMBERS = 8, 0.1
"""The time to encode an object, and a character of a text, relative to a number of an array."""

SCALARS = {int, float, bool, NoneType}


class _Base64:
    """An array that is written as base64."""

    __slots__ = ("array",)

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array


def floats(row: Vectors) -> list[float]:
    """A float32 row [n] as a field of a wire struct; it is written as a list of numbers."""
    return cast(list[float], row)


def base64_text(array: NDArray[Any]) -> str:
    """An array as a field of a wire struct; it is written as base64 of its little-endian bytes, row by row."""
    return cast(str, _Base64(array))


def is_large(answer: object) -> bool:
    """Whether the answer is larger than INLINE_NUMBERS. Stops counting there."""
    num_numbers: float = 0
    parts = [answer]
    while parts:
        part = parts.pop()
        inner: Collection[object] = ()
        if isinstance(part, msgspec.Struct):
            inner = [getattr(part, name) for name in part.__struct_fields__]
        elif isinstance(part, list):
            inner = part
        elif isinstance(part, np.ndarray):
            num_numbers += part.size
        elif isinstance(part, _Base64):
            num_numbers += part.array.size
        elif isinstance(part, (str, bytes)):
            num_numbers += TEXT_NUMBERS * len(part)
        elif isinstance(part, dict):
            inner = part.values()
        num_numbers += OBJECT_NUMBERS * len(inner)
        if num_numbers > INLINE_NUMBERS:
            return True
        parts += [item for item in inner if type(item) not in SCALARS]
    return False


def encode(answer: object, accept: bytes | None = None) -> tuple[bytes, bytes]:
    """An answer encoded in a type that the client accepts, and its content type.

    Raises EngineError if a float32 is not finite.
    """
    content_type = preferred_type(accept)
    try:
        if content_type == JSON:
            return msgspec.json.encode(answer, enc_hook=_json), content_type
        return msgspec.msgpack.encode(answer, enc_hook=_message_pack), content_type
    except ValueError as error:
        raise EngineError(f"the response cannot be encoded: {error}") from error


def preferred_type(accept: bytes | None) -> bytes:
    """The content type: MessagePack if the Accept header names it and does not prefer JSON, else JSON."""
    if not accept or b"m" not in accept.replace(b"application/json", b"").lower():
        return JSON
    qualities = weights(accept)
    quality, name = max((qualities.get(name, 0), -place) for place, name in enumerate(MESSAGE_PACK))
    json = next((qualities[name] for name in ("application/json", "application/*", "*/*") if name in qualities), 0)
    return MESSAGE_PACK[-name].encode() if quality > 0 and quality >= json else JSON


def _json(value: object) -> object:
    if isinstance(value, _Base64):
        return _base64(value)
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        return _plain(value)
    if value.ndim == 1:
        return msgspec.Raw(json_row(np.ascontiguousarray(value)))
    return [_json(row) for row in value]


def _message_pack(value: object) -> object:
    if isinstance(value, _Base64):
        return _base64(value)
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        return _plain(value)
    if not np.isfinite(value).all():
        raise ValueError("a number is not finite")
    return msgspec.Raw(message_pack_row(value)) if value.ndim == 1 else [_message_pack(row) for row in value]


def message_pack_row(row: Vectors) -> bytes:
    """float32 [n] as a MessagePack array: a header, then 0xca and four big-endian bytes for each number."""
    size = len(row)
    if size < 16:
        head = bytes([0x90 | size])
    else:
        head = b"\xdc" + size.to_bytes(2, "big") if size < 65536 else b"\xdd" + size.to_bytes(4, "big")
    items = np.empty(size, [("kind", "u1"), ("number", ">f4")])
    items["kind"] = 0xCA
    items["number"] = row
    return head + items.tobytes()


def _base64(value: _Base64) -> str:
    array = value.array
    return base64.b64encode(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()).decode()


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be encoded")
