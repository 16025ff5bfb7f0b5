"""The end of a request whose client disconnects before the response."""

import asyncio
from typing import Any

EXTENSION = "openbei.disconnect"
"""The name of the Disconnect among the extensions of an ASGI scope. The connection sets it."""


class ClientDisconnectError(Exception):
    """The client disconnected before the response."""


class Disconnect:
    """Whether the client has disconnected. Cancels the futures that its request awaits.

    Other ASGI applications start a task that reads from the connection, which would take longer than the rest of the
    wait.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._awaited: set[asyncio.Future[Any]] = set()

    def set(self) -> None:
        """The client has disconnected."""
        self.is_set = True
        for future in [*self._awaited]:
            future.cancel()

    def watch(self, future: "asyncio.Future[Any]") -> None:
        """Cancel a future when the client disconnects, or now if it has."""
        self._awaited.add(future)
        if self.is_set:
            future.cancel()

    def forget(self, future: "asyncio.Future[Any]") -> None:
        """The future is no longer awaited."""
        self._awaited.discard(future)
