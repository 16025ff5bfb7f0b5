"""HTTP/1.1 on a connection: uvicorn's protocol with limits, and error responses to invalid requests.

One request is parsed at a time. Pipelined requests wait unparsed in a bounded buffer.
"""

import asyncio
from typing import Any, cast
from urllib.parse import unquote

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from openbei.api.connections.cycle import Exchange, Flow, LingeringTransport, reset
from openbei.api.connections.deadlines import RequestProgress, ResponseWriter
from openbei.api.connections.framing import ReceiveBuffer, head_without_upgrade
from openbei.api.connections.gate import Admission, ConnectionGate
from openbei.api.connections.rejection import MAX_HEADER_BYTES, MAX_URL_BYTES, rejection
from openbei.api.exchange.refusals import Header

MAX_PIPELINED_BYTES = 65_536
"""Bytes of pipelined requests at which reading pauses. The buffer can exceed this by one read."""

LINGER_S = 2.0
"""How long received bytes are discarded after the last response. Closing at once could lose the response."""

MAX_LINGER_BYTES = 67_108_864
"""The number of bytes that are discarded before the connection closes."""


class _RefusalError(Exception):
    """Stops the parser from one of its callbacks. The parser converts it to HttpParserError."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounded headers and JSON error responses."""

    cycle: Exchange
    _num_unparsed = 0  # bytes since the last complete request, head or part of a body
    _num_header_bytes = 0
    _is_in_body = False
    _is_repeated = False  # the parser reads a head again, without its upgrade offer
    _status = 400
    _is_closing = False
    _num_discarded = 0
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        gate: ConnectionGate,
        admission: Admission | None = None,
    ) -> None:
        """`admission` is set if the connection has been counted already."""
        super().__init__(config, server_state, app_state, _loop)
        self._gate = gate
        self._admission = admission
        self._limits = gate.limits
        self._received = ReceiveBuffer()
        self._opened_s = self.loop.time()
        self._request = RequestProgress(gate.limits, self._opened_s)

    @property
    def is_busy(self) -> bool:
        """Whether a request is being received or answered."""
        return not self._is_closing and (self._num_unparsed > 0 or self._is_in_body or self._awaits_answer)

    @property
    def _awaits_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _is_waiting(self) -> bool:
        """Whether a complete request is being answered, so that the next one must wait."""
        return self._awaits_answer and not self._is_in_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit or refuse the client, and start to check its progress."""
        super().connection_made(transport)
        self.flow: Flow = Flow(transport)
        self._writer = ResponseWriter(transport, self._limits, self._opened_s)
        self._schedule_check()
        self._admission = self._admission or self._gate.admit(self.client)
        if self._gate.is_flooded:
            self._is_closing = True
            transport.abort()
        elif refusal := self._admission.refusal:
            self._refuse(refusal.status, refusal.message, refusal.headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop checking the progress."""
        if self._timer:
            self._timer.cancel()
        self._unset_keepalive_if_required()
        if self._admission:
            self._admission.leave()
        self._is_closing = True
        self._received.clear()
        if self._awaits_answer:
            self.cycle.abandon()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse up to the end of a request. The bytes after it wait until the request is answered."""
        if self._is_closing:
            self._num_discarded += len(data)
            if self._num_discarded > MAX_LINGER_BYTES:
                self.transport.close()
            return
        self._received.add(data)
        self._advance()

    def on_response_complete(self) -> None:
        """A response has been written: continue with the pipelined requests."""
        if self._is_closing:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if len(self._received) or self.flow.is_held:
            self._advance()

    def shutdown(self) -> None:
        """The server is shutting down: close, or let the current request be the last one."""
        if not self.is_busy:
            self.transport.close()

    def _advance(self) -> None:
        while len(self._received) and not self._is_closing and not self._is_waiting:
            self._unset_keepalive_if_required()
            if not self._is_in_body:
                self._request.begin_head(self.loop.time())
            self._parse(self._received.take())
        if not len(self._received):
            self._received.clear()
        has_too_much = self._is_waiting and len(self._received) > MAX_PIPELINED_BYTES
        if has_too_much != self.flow.is_held and not self._is_closing:
            self.flow.hold(has_too_much)

    def on_message_begin(self) -> None:
        """A new request."""
        if self._is_repeated:
            return
        if self._awaits_answer or self._is_in_body:
            self._abort_parsing(400)  # a valid HTTP/1.1 request ends at the end of a piece
        self._num_header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """The URL, or the next part of it."""
        if self._is_repeated:
            return
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._abort_parsing(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after a chunked body. Trailers count towards the limit and are ignored."""
        if self._is_repeated:
            return
        self._num_header_bytes += len(name) + len(value) + 4
        if self._num_header_bytes > MAX_HEADER_BYTES:
            self._abort_parsing(431)
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: run the app. A head with an offer to upgrade is parsed again, without the offer."""
        if self.parser.should_upgrade():
            return
        self._is_in_body = True
        self._num_unparsed = 0
        self._request.begin_body(self.loop.time())
        self._received.splitter.begin_body(self.headers)
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        self.scope |= {
            "method": self.parser.get_method().decode("ascii"),
            "http_version": self.parser.get_http_version(),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        self.cycle = self._exchange()
        task = self.loop.create_task(self.cycle.run_asgi(self.app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _exchange(self) -> Exchange:
        exchange = Exchange(
            scope=self.scope,
            transport=cast(asyncio.Transport, LingeringTransport(self.transport, self._writer.write, self.end)),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        exchange.is_last_answer = self._is_last_answer
        exchange.on_begin = lambda: self._writer.begin(self.loop.time())
        return exchange

    def _is_last_answer(self) -> bool:
        """Whether the connection closes after the next response: on shutdown, or above the maximum age."""
        oldest_s = self._limits.max_connection_age_s
        return self._gate.is_draining or (oldest_s is not None and self.loop.time() - self._opened_s > oldest_s)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._num_unparsed = 0
        self._request.add_body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete; the next bytes are a head."""
        if self.parser.should_upgrade():
            return
        self._is_in_body = False
        self._num_unparsed = 0
        self._received.splitter.end_body()
        super().on_message_complete()

    def refuse_incomplete(self) -> None:
        """Refuse a request that has not arrived completely when the server shuts down.

        The scheduler handles the others.
        """
        if not self._is_closing and (self._is_in_body or self._num_unparsed > 0):
            self._refuse(503)

    def end(self) -> None:
        """Close the write side at once, and the read side after the client has had time to read the last response."""
        self._is_closing = True
        self._received.clear()
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        elif not self._is_in_body:  # TLS cannot close one side, and no body is expected
            self.transport.close()
            return
        self.flow.hold(False)
        self.loop.call_later(LINGER_S, self.transport.close)

    def _parse(self, piece: bytes) -> None:
        self._num_unparsed += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(piece[offer.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._status)
        if self._num_unparsed > MAX_HEADER_BYTES + MAX_URL_BYTES and not self._is_closing:
            self._refuse(431)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Ignore an offer to upgrade (RFC 9110, 7.8). The bytes that follow are the request's body."""
        if self.parser.get_method() == b"CONNECT":
            self._refuse(405)
            return
        head = head_without_upgrade(self.parser.get_method(), self.parser.get_http_version(), self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self._is_repeated = True
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserError:
            self._refuse(self._status)
        finally:
            self._is_repeated = False
        self._received.put_back(len(rest))

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for an invalid request."""
        self._refuse(self._status)

    def _schedule_check(self) -> None:
        self._timer = self.loop.call_later(self._limits.request_timeout_s / 4, self._check_progress)

    def _check_progress(self) -> None:
        """Enforce the deadlines of heads, bodies, responses and the connection."""
        now_s = self.loop.time()
        if self._writer.is_late(now_s):
            reset(self.transport)
        elif self._is_closing:
            self._schedule_check()
        elif self._is_late(now_s):
            self._refuse(408)
        elif self._sends_nothing(now_s) or (self._is_last_answer() and not self.is_busy):
            self.end()
        else:
            self._schedule_check()

    def _is_late(self, now_s: float) -> bool:
        if self._is_in_body:
            return self._request.is_body_late(now_s)
        return self._num_unparsed > 0 and self._request.is_head_late(now_s)

    def _sends_nothing(self, now_s: float) -> bool:
        return self.cycle is None and now_s - self._opened_s > self._limits.request_timeout_s

    def _abort_parsing(self, status: int) -> None:
        self._status = status
        raise _RefusalError

    def _refuse(self, status: int, message: str | None = None, headers: tuple[Header, ...] = ()) -> None:
        """Send an error response, then close."""
        if self._awaits_answer:
            self.cycle.abandon()
        self._writer.write(rejection(status, message, headers))
        self.end()
