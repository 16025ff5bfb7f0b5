"""Admission of connections: their number, their timeouts, and whether the server is shutting down. No parsing."""

import errno
import logging
import os
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from openbei.api.exchange.refusals import Header

log = logging.getLogger(__name__)

SPARE_DESCRIPTORS = 96
"""File descriptors reserved for files, the event loop, and pending refusals."""

MAX_REFUSALS = 32
"""The number of connections above the limit that get an error response at a time; others are closed without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionLimits:
    """Limits on the number of connections, and their timeouts.

    A TLS handshake and a request's head may take `request_timeout_s` each. So may receiving a body and sending a
    response, plus the time for their bytes at `min_bytes_per_s`, up to `body_timeout_s`. If `max_connections` is None,
    the limit on file descriptors determines it.
    """

    max_connections: int | None = None
    max_connections_per_address: int | None = None
    keep_alive_s: float = 620.0
    max_connection_age_s: float | None = None
    request_timeout_s: float = 60.0
    body_timeout_s: float = 600.0
    min_bytes_per_s: float = 10_000.0

    def transfer_timeout_s(self, num_bytes: int) -> float:
        """The seconds that a body or a response of which `num_bytes` have been transferred may have taken so far."""
        return min(self.body_timeout_s, self.request_timeout_s + num_bytes / self.min_bytes_per_s)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to a connection that exceeds a limit."""

    status: int
    message: str
    headers: tuple[Header, ...] = ((b"retry-after", b"1"),)


@dataclass(slots=True)
class Admission:
    """An open connection, counted until `leave`. `refusal` is set if it exceeds a limit."""

    refusal: Refusal | None
    on_leave: Callable[[], None]

    def leave(self) -> None:
        """Stop counting the connection. Only the first call has an effect."""
        leave, self.on_leave = self.on_leave, lambda: None
        leave()


class ConnectionGate:
    """Counts open connections and decides which are admitted."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.is_draining = False
        allowed = _allowed_by_descriptors()
        self.max_connections = min(limits.max_connections or allowed, allowed)
        if limits.max_connections and limits.max_connections > allowed:
            log.warning(
                "--max-connections is %d, the limit on file descriptors allows %d (hint: raise `ulimit -n`)",
                limits.max_connections,
                allowed,
            )
        self._num_open = 0
        self._by_address: Counter[str] = Counter()
        self._has_warned = False
        self._is_out_of_descriptors = False

    @property
    def is_flooded(self) -> bool:
        """Whether there are too many connections even to send a refusal."""
        return self._num_open > self.max_connections + MAX_REFUSALS

    def admit(self, peer: object) -> Admission:
        """Count a connection. `peer` is the transport's `peername`: a tuple that starts with the address, or None."""
        address = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        self._num_open += 1
        self._by_address[address] += 1
        return Admission(self._refusal(address), lambda: self._leave(address))

    def _refusal(self, address: str) -> Refusal | None:
        if self._num_open > self.max_connections:
            self._warn()
            return Refusal(503, f"{self.max_connections} connections are open, which is the limit")
        most = self.limits.max_connections_per_address
        if most is not None and self._by_address[address] > most:
            return Refusal(429, f"{most} connections from this address are open, which is the limit")
        return None

    def _leave(self, address: str) -> None:
        self._num_open -= 1
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
        if self._num_open <= self.max_connections // 2:
            self._has_warned = False

    def check_descriptors(self) -> None:
        """Warn once if no file descriptor is left: the event loop then closes new connections silently."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE) or self._is_out_of_descriptors:
                return
            self._is_out_of_descriptors = True
            log.warning(
                "no file descriptor is left with %d connections open: new ones are closed "
                "(hint: raise `ulimit -n`, which is %d, or lower --max-connections)",
                self._num_open,
                resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            )
        else:
            self._is_out_of_descriptors = False

    def _warn(self) -> None:
        """Warn once, and again only after the number of connections has halved in between."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%d connections are open, which is the limit: new ones get 503 "
                "(hint: raise `ulimit -n`, and --max-connections if it is set)",
                self.max_connections,
            )


def _allowed_by_descriptors() -> int:
    """The number of connections that the process's limit on file descriptors allows."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 2, soft - SPARE_DESCRIPTORS)
