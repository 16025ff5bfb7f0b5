"""A row of the table as an ASGI app: the one place where keys are asked for, answers encoded, errors made answers."""

import asyncio
import time

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from openbei.api import compression, encoding, failures, headers
from openbei.api.call import Call, Reply
from openbei.api.edge import Edge
from openbei.api.observe import DROPPED, Observer, Outcome
from openbei.api.refusals import Header
from openbei.api.service import Row, Service


class Endpoint:
    """Answers the requests of a row, and tells the observer of each."""

    def __init__(self, service: Service, row: Row, edge: Edge, observer: Observer) -> None:
        self._service = service
        self._row = row
        self._edge = edge
        self._observer = observer
        self._vary = b"accept, accept-encoding" if edge.compresses else b"accept"
        engine = service.scheduler.engine_info
        self._compute_type = f"{engine.device}+{engine.backend}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless nobody listens any more."""
        call = Call(scope, receive, self._service.bodies)
        try:
            await self._answer(scope, call, send)
        finally:
            call.close()

    async def _answer(self, scope: Scope, call: Call, send: Send) -> None:
        request_id = headers.request_id(call.headers)
        failure = None
        try:
            self._edge.guard.check(call.headers.get(b"authorization"), self._row.access)
            reply = await self._row.handler(self._service, call)
            start_s = time.monotonic()
            body, sent = await self._encoded(reply, call)
        except ClientDisconnect:
            self._tell(scope, call, request_id, DROPPED, "dropped")
            return
        except Exception as error:
            start_s = time.monotonic()
            failure = failures.classify(error)[1]
            reply = failures.reply(error, self._row.dialect, request_id.decode())
            body, sent = await self._encoded(reply, call)
        sent += [(b"content-length", b"%d" % len(body)), *reply.headers, *headers.identity(request_id, call.headers)]
        end_s = time.monotonic()
        if call.measured.num_inputs and failure is None:
            sent += headers.cost(call.measured, end_s - call.arrival_s, self._compute_type)
        self._tell(scope, call, request_id, reply.status, failure, end_s - start_s)
        await send({"type": "http.response.start", "status": reply.status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    async def _encoded(self, reply: Reply, call: Call) -> tuple[bytes, list[Header]]:
        """A reply's body, and the headers that say how to read it; made in a thread if it is large."""
        if encoding.is_large(reply.answer):
            return await asyncio.to_thread(self._encode, reply, call)
        return self._encode(reply, call)

    def _encode(self, reply: Reply, call: Call) -> tuple[bytes, list[Header]]:
        # Bytes have their encoding already.
        if isinstance(reply.answer, bytes):
            body, content_type = reply.answer, reply.content_type or encoding.JSON
        else:
            body, content_type = encoding.encode(reply.answer, call.headers.get(b"accept"))
        found = [(b"content-type", content_type), (b"vary", self._vary)]
        if self._edge.compresses:
            is_dense = reply.is_dense or content_type != encoding.JSON
            body, name = compression.deflated(body, call.headers.get(b"accept-encoding"), is_dense=is_dense)
            found += [(b"content-encoding", name)] if name else []
        return body, found

    def _tell(
        self, scope: Scope, call: Call, request_id: bytes, status: int, failure: str | None, encoding_s: float = 0.0
    ) -> None:
        outcome = Outcome(
            method=scope["method"],
            route=self._row.path,
            path=(scope.get("raw_path") or b"").decode("latin-1"),
            request_id=request_id.decode(),
            status=status,
            failure=failure,
            duration_s=time.monotonic() - call.arrival_s,
            serialization_s=encoding_s,
            measured=call.measured,
        )
        self._observer.tell(outcome, call.headers)
