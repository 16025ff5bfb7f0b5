"""Cooperative cancellation of work in a thread: the work regularly checks whether it has been cancelled."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_cancelled: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("cancelled", default=None)


class WorkCancelledError(Exception):
    """Ends cancelled work in its thread. It is never visible to a caller."""


async def in_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread. When this is cancelled, the function ends at its next `check`."""
    event = threading.Event()
    token = _cancelled.set(event)
    try:
        return await asyncio.to_thread(function)  # to_thread copies the context
    finally:
        event.set()
        _cancelled.reset(token)


def check() -> None:
    """Raise WorkCancelledError if this runs in `in_thread` and has been cancelled."""
    event = _cancelled.get()
    if event and event.is_set():
        raise WorkCancelledError
