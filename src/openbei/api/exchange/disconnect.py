"""The end of a request whose client disconnects before the response."""

import asyncio
from typing import Any

EXTENSION = "openbei.disconnect"
"""The name of the Disconnect among the extensions of an ASGI scope. The connection sets it."""


class ClientDisconnectError(Exception):
    """The client disconnected before the response."""


class Disconnect:
    """Whether the client has disconnected. Cancels the results that are awaited then.

    A task that reads from the connection meanwhile, as in other ASGI applications, would take longer than the rest of
    the wait.
    """

    def __init__(self) -> None:
        self.has_happened = False
        self._awaited: set[asyncio.Future[Any]] = set()

    def happen(self) -> None:
        """The client has disconnected."""
        self.has_happened = True
        for future in [*self._awaited]:
            future.cancel()

    def watch(self, future: "asyncio.Future[Any]") -> None:
        """Cancel a future when the client disconnects, or now if it has."""
        self._awaited.add(future)
        if self.has_happened:
            future.cancel()

    def forget(self, future: "asyncio.Future[Any]") -> None:
        """The future is no longer awaited."""
        self._awaited.discard(future)
