"""A route as an ASGI app: check the key, read the body, call the handler, encode the answer or the error, record it."""

import asyncio
import time
from collections.abc import Sequence as Items

from starlette.types import Receive, Scope, Send

from openbei.api.choice import choose
from openbei.api.exchange import compression, encoding, errors, headers
from openbei.api.exchange.body import EMPTY, read_body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.disconnect import ClientDisconnectError
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.observe import DROPPED, Observer, Outcome
from openbei.api.exchange.refusals import Header
from openbei.api.service import Route, ServerState, Service


class Endpoint:
    """Answers the requests of a route, and records each. `candidates` are the models that support the route."""

    def __init__(
        self, server: ServerState, candidates: Items[Service], route: Route, edge: Edge, observer: Observer
    ) -> None:
        self._server = server
        self._candidates = candidates
        self._route = route
        self._edge = edge
        self._observer = observer
        self._vary = b"accept, accept-encoding" if edge.compresses else b"accept"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, unless its client has disconnected."""
        call = Call(scope, receive, self._server.bodies)
        try:
            await self._answer(scope, call, send)
        finally:
            call.close()

    async def _answer(self, scope: Scope, call: Call, send: Send) -> None:
        request_id = headers.request_id(call.headers, self._server.ids)
        failure = service = None
        try:
            self._edge.guard.check(call.headers.get(b"authorization"), self._route.access)
            body = await read_body(call, self._server.limits) if self._route.method == "POST" else EMPTY
            service = choose(self._server, self._candidates, body.fields)
            reply = await self._route.handler(service, call, body)
            start_s = time.monotonic()
            content, sent = await self._encoded(reply, call)
        except ClientDisconnectError:
            self._record(scope, call, service, request_id, DROPPED, "dropped")
            return
        except Exception as error:
            start_s = time.monotonic()
            failure = errors.classify(error)[1]
            reply = errors.reply(error, self._route.dialect, request_id.decode())
            content, sent = await self._encoded(reply, call)
        sent += [(b"content-length", b"%d" % len(content)), *reply.headers, *headers.identity(request_id, call.headers)]
        end_s = time.monotonic()
        if call.measured.num_inputs and failure is None and service:
            sent += headers.cost(call.measured, end_s - start_s, end_s - call.arrival_s, service.compute_type)
        self._record(scope, call, service, request_id, reply.status, failure, end_s - start_s)
        await send({"type": "http.response.start", "status": reply.status, "headers": sent})
        await send({"type": "http.response.body", "body": content})

    async def _encoded(self, reply: Reply, call: Call) -> tuple[bytes, list[Header]]:
        """A reply's body and the headers that describe its encoding; in a thread if it is large."""
        if encoding.is_large(reply.answer):
            return await asyncio.to_thread(self._encode, reply, call)
        return self._encode(reply, call)

    def _encode(self, reply: Reply, call: Call) -> tuple[bytes, list[Header]]:
        # Bytes have their encoding already.
        if isinstance(reply.answer, bytes):
            body, content_type = reply.answer, reply.content_type or encoding.JSON
        else:
            body, content_type = encoding.encode(reply.answer, call.headers.get(b"accept"))
        headers = [(b"content-type", content_type), (b"vary", self._vary)]
        if self._edge.compresses:
            is_dense = reply.is_dense or content_type != encoding.JSON
            body, name = compression.deflated(body, call.headers.get(b"accept-encoding"), is_dense=is_dense)
            headers += [(b"content-encoding", name)] if name else []
        return body, headers

    def _record(
        self,
        scope: Scope,
        call: Call,
        service: Service | None,
        request_id: bytes,
        status: int,
        failure: str | None,
        encoding_s: float = 0.0,
    ) -> None:
        outcome = Outcome(
            method=scope["method"],
            route=self._route.path,
            path=(scope.get("raw_path") or b"").decode("latin-1"),
            request_id=request_id.decode(),
            model=service.model.name if service else None,
            status=status,
            failure=failure,
            duration_s=time.monotonic() - call.arrival_s,
            serialization_s=encoding_s,
            measured=call.measured,
        )
        self._observer.record(outcome, service.metrics if service else self._server.unrouted, call.headers)
