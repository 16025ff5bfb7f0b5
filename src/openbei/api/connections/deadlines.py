"""Deadlines for clients: for sending a head and a body, and for reading a response. No parsing, no timer.

All times are in seconds on the event loop's clock.
"""

import asyncio

from openbei.api.connections.gate import ConnectionLimits


class RequestProgress:
    """Times of the request that a connection is receiving."""

    def __init__(self, limits: ConnectionLimits, now_s: float) -> None:
        self._limits = limits
        self._head_since_s: float | None = now_s
        self._body_since_s = now_s
        self._num_body_bytes = 0

    def begin_head(self, now_s: float) -> None:
        """The first byte of a head has arrived. On a new connection, the time counts from its start."""
        if self._head_since_s is None:
            self._head_since_s = now_s

    def begin_body(self, now_s: float) -> None:
        """A head is complete."""
        self._head_since_s = None
        self._body_since_s = now_s
        self._num_body_bytes = 0

    def add_body(self, num_bytes: int) -> None:
        """A part of a body has arrived."""
        self._num_body_bytes += num_bytes

    def is_head_late(self, now_s: float) -> bool:
        """Whether the head is overdue."""
        return self._head_since_s is not None and now_s - self._head_since_s > self._limits.request_timeout_s

    def is_body_late(self, now_s: float) -> bool:
        """Whether the body is overdue."""
        return now_s - self._body_since_s > self._limits.transfer_timeout_s(self._num_body_bytes)


class ResponseWriter:
    """The write side of a transport, with the times of the response that the client is reading."""

    def __init__(self, transport: asyncio.Transport, limits: ConnectionLimits, now_s: float) -> None:
        self._transport = transport
        self._limits = limits
        self._num_written = 0
        self._since_s = now_s
        self._num_sent_before: int | None = None

    def write(self, data: bytes) -> None:
        """Write to the transport."""
        self._num_written += len(data)
        self._transport.write(data)

    def begin(self, now_s: float) -> None:
        """Restart the time: a response starts, or the client has read everything."""
        self._since_s = now_s
        self._num_sent_before = None

    def is_late(self, now_s: float) -> bool:
        """Whether the client reads too slowly.

        Called periodically. Bytes in the kernel's buffer at the first call are not counted as read.
        """
        if self._transport.get_write_buffer_size() == 0:
            self.begin(now_s)
            return False
        if self._num_sent_before is None:
            self._num_sent_before = self._num_sent()
        num_bytes = self._num_sent() - self._num_sent_before
        return now_s - self._since_s > self._limits.transfer_timeout_s(num_bytes)

    def _num_sent(self) -> int:
        return self._num_written - self._transport.get_write_buffer_size()
