"""Compression of requests and responses with zstd and gzip (RFC 8878, RFC 1952). Decompression is bounded."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard

from openbei.api.exchange.accept import weights
from openbei.api.exchange.decoding import MalformedBodyError
from openbei.api.exchange.refusals import BodyEncodingError, BodyTooLargeError
from openbei.api.limits import MAX_FRAMES

LEVEL = 1
"""Higher levels hardly make floats smaller."""

MIN_ZSTD_BYTES, MIN_GZIP_BYTES = 1024, 4096
"""Minimum sizes for compression: smaller responses fit in a packet or two. gzip is slower, so its minimum is higher."""

SLICE_BYTES = 1024
"""Compressed bytes that are decompressed at a time.

They expand to at most 32 MiB, which memory can exceed the limit by.
"""

MAX_WINDOW_BYTES = 1 << 23
"""The maximum window of a zstd frame, as RFC 8878 recommends."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _gzip_inflater() -> _Inflater:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _zstd_inflater() -> _Inflater:
    return zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()


INFLATERS: dict[bytes, Callable[[], _Inflater]] = {
    b"zstd": _zstd_inflater,
    b"gzip": _gzip_inflater,
    b"x-gzip": _gzip_inflater,
}


async def inflated(body: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Decompress a request's body according to its Content-Encoding, in a thread.

    Raises BodyEncodingError, MalformedBodyError for an invalid stream, BodyTooLargeError as soon as it is too large.
    """
    name = encoding.strip().lower()
    if name in (b"", b"identity"):
        return body
    if name not in INFLATERS:
        raise BodyEncodingError(
            f"content-encoding {name.decode('latin-1')[:40]!r} is not supported",
            hint="use zstd or gzip",
            headers=((b"accept-encoding", b"zstd, gzip"),),
        )
    return await asyncio.to_thread(inflate, body, INFLATERS[name], max_bytes)


def inflate(body: bytes, start: Callable[[], _Inflater], max_bytes: int) -> bytes:
    """Decompress concatenated frames. Raises the errors of `inflated`."""
    inflater, num_frames = start(), 1
    parts: list[bytes] = []
    num_bytes = 0
    try:
        for offset in range(0, len(body), SLICE_BYTES):
            piece = body[offset : offset + SLICE_BYTES]
            while piece:
                if inflater.eof:
                    inflater, num_frames = start(), num_frames + 1
                if num_frames > MAX_FRAMES:
                    raise MalformedBodyError(f"the compressed body has more than {MAX_FRAMES} frames")
                parts.append(inflater.decompress(piece))
                piece = inflater.unused_data if inflater.eof else b""
                num_bytes += len(parts[-1])
                if num_bytes > max_bytes:
                    raise BodyTooLargeError(max_bytes, is_inflated=True)
    except (zlib.error, zstandard.ZstdError):
        raise MalformedBodyError("the body is not in the format that content-encoding names") from None
    if not inflater.eof:
        raise MalformedBodyError("the compressed body ends too early")
    return b"".join(parts)


def deflated(body: bytes, accept: bytes | None, *, is_dense: bool = False) -> tuple[bytes, bytes | None]:
    """A response's body, compressed if the client accepts it and it is large enough, and its Content-Encoding.

    Floats as base64 or MessagePack (`is_dense`) shrink by a quarter at best, so gzip is not worth its time.
    """
    if not accept or len(body) < MIN_ZSTD_BYTES:
        return body, None
    name = _preferred_encoding(weights(accept), 0 if is_dense else len(body))
    if name is None:
        return body, None
    return _deflate(body, name), name.encode()


def _preferred_encoding(qualities: dict[str, float], num_gzip_bytes: int) -> str | None:
    others = qualities.get("*", 0)
    if qualities.get("zstd", others) > 0:
        return "zstd"
    return "gzip" if qualities.get("gzip", others) > 0 and num_gzip_bytes >= MIN_GZIP_BYTES else None


def _deflate(body: bytes, name: str) -> bytes:
    if name == "zstd":
        return zstandard.ZstdCompressor(LEVEL).compress(body)
    return zlib.compress(body, LEVEL, 16 + zlib.MAX_WBITS)
