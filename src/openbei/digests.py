"""BLAKE3 digests of files, chunk by chunk, so that a part of a file can be checked without the rest."""

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from blake3 import blake3

CHUNK_BYTES = 16 << 20


def digest(content: bytes) -> str:
    """The digest of bytes in memory, in hex."""
    return blake3(content).hexdigest()


def file_digest(path: Path) -> str:
    """One digest of a file, that of `file_digests`. Raises OSError if it cannot be read."""
    return digest(repr(file_digests(path)).encode())


def file_digests(path: Path) -> tuple[str, ...]:
    """The digests of the chunks of a file in hex, computed with one thread per CPU; empty for an empty file.

    Raises OSError if the file cannot be read.
    """
    if path.stat().st_size == 0:
        return ()
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as whole,
    ):
        starts = range(0, len(whole), CHUNK_BYTES)

        def chunk_digest(start: int) -> str:
            with whole[start : start + CHUNK_BYTES] as chunk:
                return blake3(chunk).hexdigest()

        # Each chunk is hashed by one thread, so that no thread waits for others.
        with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as threads:
            return tuple(threads.map(chunk_digest, starts))
