"""Ids of requests and of answers."""

import os
from collections.abc import Iterator

ID_BYTES, BLOCK_BYTES = 16, 4096
"""The bytes of an id, and the random bytes that are read at a time.

Each read releases the GIL, and waiting for the GIL afterwards takes longer than everything else about an id.
"""


class RequestIds:
    """Random ids of 32 hex digits. Not thread-safe."""

    def __init__(self) -> None:
        self._ids = _random_ids()

    def new(self) -> str:
        """An id."""
        return next(self._ids)


def _random_ids() -> Iterator[str]:
    while True:
        block = os.urandom(BLOCK_BYTES).hex()
        yield from (block[start : start + 2 * ID_BYTES] for start in range(0, 2 * BLOCK_BYTES, 2 * ID_BYTES))
