"""HTTP/1.1 on a connection: uvicorn's protocol with limits, and an answer for what never becomes a request."""

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openbei.api import failures

MAX_HEADER_BYTES = 65_536
MAX_URL_BYTES = 8_192

LINGER_S = 2.0
"""How long what still comes is read and thrown away after a refusal, so that the refusal is not lost on its way."""

PATIENCE_S = 60.0
"""How long headers may take, and how long a body may pause: a request that never ends must not hold a connection."""

REFUSALS = {
    400: "this is not HTTP/1.1",
    408: "the request did not arrive in time",
    414: f"the URL is longer than {MAX_URL_BYTES} bytes",
    431: f"the headers are larger than {MAX_HEADER_BYTES} bytes",
}


class _RefusalError(Exception):
    """Stops the parser from inside one of its callbacks; it never gets out of it."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself reads headers without end and refuses in plain text."""

    _num_unparsed = 0  # bytes since something was complete
    _num_header_bytes = 0
    _is_in_body = False
    _status = 400
    _is_refused = False
    _heard_s = 0.0  # when headers began, or the last part of a body came
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch how long requests take to arrive."""
        super().connection_made(transport)
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        if self._watch:
            self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless this connection was refused already."""
        if self._is_refused:
            return
        if self._is_in_body or self._num_unparsed == 0:
            self._heard_s = self.loop.time()
        self._num_unparsed += 0 if self._is_in_body else len(data)
        super().data_received(data)
        if self._num_unparsed > MAX_HEADER_BYTES + MAX_URL_BYTES and not self._is_refused:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """A new request."""
        self._num_header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """The URL, or the next part of it."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._stop(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._num_header_bytes += len(name) + len(value) + 4
        if self._num_header_bytes > MAX_HEADER_BYTES:
            self._stop(431)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Headers are over."""
        self._is_in_body = True
        self._num_unparsed = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are headers again."""
        self._is_in_body = False
        self._num_unparsed = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser calls when it cannot go on."""
        self._refuse(self._status)

    def _look_again(self) -> None:
        self._watch = self.loop.call_later(PATIENCE_S / 4, self._check_progress)

    def _check_progress(self) -> None:
        is_arriving = (self._is_in_body and not self.flow.read_paused) or self._num_unparsed > 0
        if is_arriving and self.loop.time() - self._heard_s > PATIENCE_S:
            self._refuse(408)
        else:
            self._look_again()

    def _stop(self, status: int) -> None:
        self._status = status
        raise _RefusalError

    def _refuse(self, status: int) -> None:
        """Answer, then close: at once for writing, for reading when the client has had time to see the answer."""
        self._is_refused = True
        if self.cycle and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        phrase = HTTPStatus(status).phrase
        body = failures.body(status, phrase.lower().replace(" ", "_").replace("-", "_"), REFUSALS[status])
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
