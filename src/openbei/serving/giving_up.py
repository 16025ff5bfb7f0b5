"""Work in a thread that stops between its parts when nobody waits for it any more."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_given_up: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("given_up", default=None)


class GivenUpError(Exception):
    """Ends work in its thread. Nobody waits for it, so nobody sees this."""


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread. When this is cancelled, the function ends at its next `check`."""
    event = threading.Event()
    token = _given_up.set(event)
    try:
        return await asyncio.to_thread(function)  # which takes the context along
    finally:
        event.set()
        _given_up.reset(token)


def check() -> None:
    """Raise GivenUpError if this runs by `in_thread` and nobody waits for it."""
    event = _given_up.get()
    if event and event.is_set():
        raise GivenUpError
