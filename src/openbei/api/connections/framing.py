"""Where requests end in the bytes of a connection, and a head without its offer to upgrade. No limits.

The parser says that a request is complete, but not where in the bytes; so it gets pieces that end where one may.
"""

Headers = list[tuple[bytes, bytes]]

END = b"\r\n\r\n"
"""What every head, and every body in chunks, ends with."""


class Pieces:
    """Cuts what arrives so that a request, where it ends, ends with a piece."""

    def __init__(self) -> None:
        self._num_left = 0  # bytes that are left of a body that has a length
        self._last = b""  # up to 3 bytes that came before

    def begin_body(self, headers: Headers) -> None:
        """A head is complete; it has been found to have one length, or chunks, or no body."""
        self._num_left = next((int(value) for name, value in headers if name == b"content-length"), 0)

    def end_body(self) -> None:
        """A request is complete."""
        self._num_left = 0

    def end(self, data: bytes, start: int) -> int:
        """Where the piece of `data` that begins at `start` ends."""
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


class ReadAhead:
    """Received bytes that are not parsed yet. They are taken in pieces."""

    def __init__(self) -> None:
        self.pieces = Pieces()
        self._data = b""
        self._num_taken = 0

    def __len__(self) -> int:
        return len(self._data) - self._num_taken

    def add(self, data: bytes) -> None:
        """Append received bytes."""
        self._data = self._data[self._num_taken :] + data if len(self) else data
        self._num_taken = 0

    def take(self) -> bytes:
        """The next piece, without a copy if it is everything."""
        start, self._num_taken = self._num_taken, self.pieces.end(self._data, self._num_taken)
        is_all = self._num_taken - start == len(self._data)
        return self._data if is_all else self._data[start : self._num_taken]

    def put_back(self, num_bytes: int) -> None:
        """Return the last bytes of the last piece."""
        self._num_taken -= num_bytes

    def clear(self) -> None:
        """Drop what is left."""
        self._data, self._num_taken = b"", 0


def head_without_upgrade(method: bytes, version: str, headers: Headers) -> bytes:
    """A head that frames the same body and keeps or closes the connection as this one, and offers nothing.

    Its target is `/`, and of its headers only those are left that say so: it is for a parser, not for a handler.
    """
    kept = [(name, value) for name, value in headers if name in (b"content-length", b"transfer-encoding")]
    tokens = [token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")]
    kept += [(b"connection", token) for token in (b"close", b"keep-alive") if token in tokens]
    lines = [b"%s / HTTP/%s\r\n" % (method, version.encode()), *(b"%s: %s\r\n" % header for header in kept), b"\r\n"]
    return b"".join(lines)
