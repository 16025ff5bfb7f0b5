"""Connections as a whole: how many there may be, how long each may take, whether the server ends. No parsing."""

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
"""File descriptors that are kept from connections: files, the event loop, refusals on their way."""

MAX_REFUSALS = 32
"""Connections above the limit that get an answer at the same time; any more are closed without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionLimits:
    """How many connections there may be, and how long each may take.

    A TLS handshake and a request's head have `request_timeout_s` each. So have a body, and an answer that the client
    reads, but those may take longer if they move `min_bytes_per_s`, up to `body_timeout_s`. None for `max_connections`
    is what file descriptors allow.
    """

    max_connections: int | None = None
    max_connections_per_address: int | None = None
    keep_alive_s: float = 620.0
    max_connection_age_s: float | None = None
    request_timeout_s: float = 60.0
    body_timeout_s: float = 600.0
    min_bytes_per_s: float = 10_000.0

    def transfer_timeout_s(self, num_bytes: int) -> float:
        """How many seconds a body or an answer may have taken so far, if `num_bytes` of it have come through."""
        return min(self.body_timeout_s, self.request_timeout_s + num_bytes / self.min_bytes_per_s)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection is not let in, for its client."""

    status: int
    message: str
    headers: tuple[Header, ...] = ((b"retry-after", b"1"),)


@dataclass(slots=True)
class Admission:
    """An open connection that is counted until it leaves. `refusal` is set if it exceeds a limit."""

    refusal: Refusal | None
    on_leave: Callable[[], None]

    def leave(self) -> None:
        """Stop counting the connection. Only the first call has an effect."""
        leave, self.on_leave = self.on_leave, lambda: None
        leave()


class ConnectionGate:
    """Counts the connections that are open and says which may come in."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.is_draining = False
        allowed = _allowed_by_descriptors()
        self.max_connections = min(limits.max_connections or allowed, allowed)
        if limits.max_connections and limits.max_connections > allowed:
            log.warning(
                "--max-connections is %d, file descriptors allow %d (hint: raise `ulimit -n`)",
                limits.max_connections,
                allowed,
            )
        self._num_open = 0
        self._by_address: Counter[str] = Counter()
        self._has_warned = False
        self._is_out_of_descriptors = False

    @property
    def is_flooded(self) -> bool:
        """Whether there are so many connections that not even a refusal can be sent."""
        return self._num_open > self.max_connections + MAX_REFUSALS

    def admit(self, peer: object) -> Admission:
        """Count a connection from a `peer`, which is a transport's: (address, port) and more, or None."""
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

    def look_for_descriptors(self) -> None:
        """Say it once if there is none left: the event loop closes new connections then without a word."""
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
        """Say it once, and once more if it happens again after the number has halved."""
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%d connections are open, which is the limit: new ones get 503 "
                "(hint: raise `ulimit -n`, and --max-connections if it is set)",
                self.max_connections,
            )


def _allowed_by_descriptors() -> int:
    """What the limit on this process's file descriptors leaves for connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft // 2, soft - SPARE_DESCRIPTORS)
