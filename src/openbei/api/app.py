"""The ASGI application: finds the route of a request; starts and closes the scheduler."""

import asyncio
import time
from collections.abc import AsyncIterator
from collections.abc import Sequence as Items
from contextlib import asynccontextmanager

from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from openbei import __version__
from openbei.api.endpoint import Endpoint
from openbei.api.exchange import headers
from openbei.api.exchange.bodies import Bodies
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.observe import NO_ROUTE, Observer
from openbei.api.exchange.paths import Paths
from openbei.api.exchange.refusals import RefusedError
from openbei.api.limits import Limits
from openbei.api.routes import served
from openbei.api.service import Handler, Route, ServerState, Service
from openbei.serving.metrics import Metrics
from openbei.serving.served_model import ServedModel


class Dispatch:
    """Dispatches a request to the endpoint of its route. Unknown paths also require a key, and are recorded."""

    def __init__(self, service: Service, edge: Edge, observer: Observer) -> None:
        self._paths = Paths({(r.method, r.path): Endpoint(service, r, edge, observer) for r in service.server.routes})
        self._service, self._edge, self._observer = service, edge, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            endpoint = self._paths.find(scope["method"], scope["path"])
        except RefusedError as error:
            route = Route("", NO_ROUTE, _refusing(error), "")
            endpoint = Endpoint(self._service, route, self._edge, self._observer)
        await endpoint(scope, receive, send)


def create_app(
    models: Items[ServedModel],
    *,
    metrics: Metrics,
    limits: Limits | None = None,
    edge: Edge | None = None,
    shutdown_deadline_s: float = 30.0,
) -> ASGIApp:
    """Build the app; its lifespan starts the schedulers and closes them.

    Raises ConfigError if the manifest's `default_route` does not exist.
    """
    [model] = models
    edge = edge or Edge()
    limits = limits or Limits()
    server = ServerState(
        version=__version__,
        created=int(time.time()),
        metrics=metrics,
        limits=limits,
        bodies=Bodies(max(limits.max_bodies_bytes, limits.max_body_bytes)),
        routes=served(model.model),
        services={},
    )
    service = Service(model=model.model, scheduler=model.scheduler, metrics=model.metrics, server=server)
    server.services[model.model.name] = service
    observer = Observer(metrics, logs=edge.logs_requests, tracer=edge.tracer)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        model.scheduler.start()
        yield
        await model.scheduler.close(shutdown_deadline_s)
        if edge.tracer:
            await asyncio.to_thread(edge.tracer.close)

    router = Router(default=Dispatch(service, edge, observer), redirect_slashes=False, lifespan=lifespan)
    return _with_cors(router, edge.cors_origins) if edge.cors_origins else router


def _with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Allow requests from pages of other origins. CORS preflight requests need no key."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        allow_private_network=True,
        expose_headers=headers.EXPOSED,
        max_age=3600,
    )


def _refusing(error: RefusedError) -> Handler:
    async def handler(service: Service, call: Call, body: Body) -> Reply:
        raise error

    return handler
