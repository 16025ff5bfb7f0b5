"""Framing: splits the bytes of a connection at the ends of requests, and removes upgrade offers. No limits.

The parser reports that a request is complete, but not its position. Therefore it gets pieces that end at every possible
end of a request.
"""

Headers = list[tuple[bytes, bytes]]

END = b"\r\n\r\n"
"""The end of every head and every chunked body."""


class RequestSplitter:
    """Splits received bytes into pieces, such that the end of a request is always the end of a piece."""

    def __init__(self) -> None:
        self._num_left = 0  # remaining bytes of a body with content-length
        self._last = b""  # the preceding bytes, up to 3

    def begin_body(self, headers: Headers) -> None:
        """A head is complete. The parser has checked that the body is chunked, has one content-length, or is absent."""
        self._num_left = next((int(value) for name, value in headers if name == b"content-length"), 0)

    def end_body(self) -> None:
        """A request is complete."""
        self._num_left = 0

    def end(self, data: bytes, start: int) -> int:
        """The end of the piece of `data` that begins at `start`."""
        if self._num_left:
            stop = min(len(data), start + self._num_left)
            self._num_left -= stop - start
            self._last = b""
            return stop
        stop = self._after_end(data, start)
        self._last = (self._last + data[max(start, stop - 3) : stop])[-3:]
        return stop

    def _after_end(self, data: bytes, start: int) -> int:
        across = (self._last + data[start : start + 3]).find(END)
        if across >= 0:
            return start + across + len(END) - len(self._last)
        found = data.find(END, start)
        return len(data) if found < 0 else found + len(END)


class ReceiveBuffer:
    """A buffer of received bytes that are not parsed yet; they are taken in pieces."""

    def __init__(self) -> None:
        self.splitter = RequestSplitter()
        self._data = b""
        self._num_taken = 0

    def __len__(self) -> int:
        return len(self._data) - self._num_taken

    def add(self, data: bytes) -> None:
        """Append received bytes."""
        self._data = self._data[self._num_taken :] + data if len(self) else data
        self._num_taken = 0

    def take(self) -> bytes:
        """The next piece. It is not copied if it is the whole buffer."""
        start, self._num_taken = self._num_taken, self.splitter.end(self._data, self._num_taken)
        is_all = self._num_taken - start == len(self._data)
        return self._data if is_all else self._data[start : self._num_taken]

    def put_back(self, num_bytes: int) -> None:
        """Return the last bytes of the last piece."""
        self._num_taken -= num_bytes

    def clear(self) -> None:
        """Discard the remaining bytes."""
        self._data, self._num_taken = b"", 0


def head_without_upgrade(method: bytes, version: str, headers: Headers) -> bytes:
    """A head with the same body framing and connection persistence, but without the offer to upgrade.

    It is for the parser only: its target is `/`, and all other headers are removed.
    """
    kept = [(name, value) for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    tokens = [token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")]
    kept += [(b"connection", token) for token in (b"close", b"keep-alive") if token in tokens]
    lines = [b"%s / HTTP/%s\r\n" % (method, version.encode()), *(b"%s: %s\r\n" % header for header in kept), b"\r\n"]
    return b"".join(lines)
