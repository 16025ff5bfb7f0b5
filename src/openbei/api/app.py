"""The application: the ROUTES table, and what turns it into an ASGI app. Statuses of errors are in `failures`."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from openbei import __version__
from openbei.api import about, embeddings, failures, health, openapi, wire
from openbei.api.call import Call
from openbei.api.service import Handler, Limits, Row, Service
from openbei.errors import ConfigError
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import Scheduler
from openbei.serving.tokenizer import Tokenizer

_INFERENCE = (400, 408, 413, 422, 429, 500, 503)
_EMBEDDINGS = (embeddings.embed, "Embed texts", wire.EmbeddingsRequest, wire.EmbeddingsResponse, _INFERENCE)

ROUTES: tuple[Row, ...] = (
    Row("POST", "/v1/embeddings", *_EMBEDDINGS),
    Row("POST", "/embeddings", *_EMBEDDINGS),
    Row("GET", "/health", health.health, "200 when the engine answers", failures=(503,)),
    Row("GET", "/v1/models", about.models, "The model that is served", response=wire.Models),
    Row("GET", "/metrics", about.metrics, "Metrics for Prometheus"),
    Row("GET", "/openapi.json", openapi.describe, "This description"),
    Row("GET", "/api-doc/openapi.json", openapi.describe, "This description"),
    Row("GET", "/", about.index, "What is served here", response=wire.Index),
)


class Endpoint:
    """A row's handler as an ASGI app: one place where errors become answers."""

    def __init__(self, service: Service, handler: Handler) -> None:
        self._service = service
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless nobody listens any more."""
        failure = self._service.metrics.request_failure
        try:
            reply = await self._handler(self._service, Call(scope, receive))
        except ClientDisconnect:
            failure.labels("dropped").inc()
            return
        except Exception as error:
            failure.labels(failures.classify(error)[1]).inc()
            reply = failures.reply(error)
        await reply.send(send)


def create_app(
    *,
    tokenizer: Tokenizer,
    scheduler: Scheduler,
    metrics: Metrics,
    model_name: str,
    hidden_size: int,
    default_route: str = "/v1/embeddings",
    limits: Limits | None = None,
    shutdown_deadline_s: float = 30.0,
) -> Starlette:
    """Build the app; its lifespan starts the scheduler and closes it.

    `default_route` also answers at POST /; ConfigError if no such route exists.
    """
    routes = (*ROUTES, _default_row(default_route))
    service = Service(
        model_name=model_name,
        hidden_size=hidden_size,
        version=__version__,
        created=int(time.time()),
        tokenizer=tokenizer,
        scheduler=scheduler,
        metrics=metrics,
        limits=limits or Limits(),
        routes=routes,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        scheduler.start()
        yield
        await scheduler.close(shutdown_deadline_s)

    app = Starlette(
        routes=[Route(row.path, Endpoint(service, row.handler), methods=[row.method]) for row in routes],
        exception_handlers={HTTPException: _refuse},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _default_row(default_route: str) -> Row:
    rows = {row.path: row for row in ROUTES if row.method == "POST"}
    if default_route not in rows:
        raise ConfigError(f"webserver_default_route is {default_route}, the routes are {', '.join(rows)}")
    return replace(rows[default_route], path="/")


async def _refuse(request: Request, error: Exception) -> Response:
    """No such route (404), or not with this method (405)."""
    if not isinstance(error, HTTPException):
        raise error
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    body = failures.body(error.status_code, code, f"{request.method} {request.url.path}: {error.detail}")
    return Response(body, error.status_code, error.headers, "application/json")
