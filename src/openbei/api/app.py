"""The ASGI application: finds the route of a request; starts and closes the scheduler."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from collections.abc import Sequence as Items

from starlette.types import ASGIApp, Receive, Scope, Send

from openbei import __version__
from openbei.api.endpoint import Endpoint
from openbei.api.exchange import headers
from openbei.api.exchange.accept import prefers_html
from openbei.api.exchange.bodies import Bodies
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.observe import NO_MODEL, NO_ROUTE, Observer
from openbei.api.exchange.paths import Paths
from openbei.api.exchange.refusals import RefusedError
from openbei.api.exchange.request_ids import RequestIds
from openbei.api.limits import Limits
from openbei.api.pages.playground_page import read_playground
from openbei.api.routes import candidates, served
from openbei.api.service import Handler, Route, ServerState, Service
from openbei.serving.metrics import Metrics, RequestMetrics
from openbei.serving.served_model import ServedModel, check_names
from openbei.serving.tokenizer_threads import TokenizerThreads

Exposition = Callable[[], Awaitable[bytes]]
"""Returns metrics as Prometheus reads them."""


class Dispatch:
    """Dispatches a request to the endpoint of its route. Unknown paths also require a key, and are recorded."""

    def __init__(self, server: ServerState, edge: Edge, observer: Observer) -> None:
        services = tuple(server.services.values())

        def endpoint(route: Route) -> Endpoint:
            return Endpoint(server, candidates(route, services), route, edge, observer)

        apps: dict[tuple[str, str], ASGIApp] = {(route.method, route.path): endpoint(route) for route in server.routes}
        if edge.has_page:
            page = read_playground()
            apps["GET", "/"] = PageOrIndex(endpoint(page.html), apps["GET", "/"])
            apps |= {("GET", path): endpoint(route) for path, route in page.files.items()}
        self._paths = Paths(apps)
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        try:
            app = self._paths.find(scope["method"], scope["path"])
        except RefusedError as error:
            app = self._endpoint(Route("", NO_ROUTE, _refusing(error), ""))
        await app(scope, receive, send)


class PageOrIndex:
    """GET /: the web page for browsers, the index for all other clients."""

    def __init__(self, page: ASGIApp, index: ASGIApp) -> None:
        self._page = page
        self._index = index

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        is_browser = prefers_html(dict(scope["headers"]).get(b"accept"))
        await (self._page if is_browser else self._index)(scope, receive, send)


class App:
    """An ASGI application. `start` and `stop` run when the server starts, and when it has finished all requests."""

    def __init__(
        self, dispatch: Dispatch, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]
    ) -> None:
        self._dispatch = dispatch
        self._start = start
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the server's lifespan. Its exceptions end the server."""
        if scope["type"] == "http":
            await self._dispatch(scope, receive, send)
            return
        await receive()
        await self._start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})


def create_app(
    models: Items[ServedModel],
    *,
    metrics: Metrics,
    limits: Limits | None = None,
    edge: Edge | None = None,
    shutdown_deadline_s: float = 30.0,
    exposition: Exposition | None = None,
) -> ASGIApp:
    """Build the app, which starts the schedulers and closes them.

    `exposition` returns the text of /metrics, by default that of `metrics`. Raises ConfigError if two models have the
    same name, or if the `default_route` of a manifest does not exist.
    """
    edge = edge or Edge()
    server = _server(models, metrics, exposition, limits or Limits())
    observer = Observer(metrics, logs=edge.logs_requests, tracer=edge.tracer)

    async def start() -> None:
        server.tokenizer_threads.start()
        for one in models:
            one.scheduler.start()

    async def stop() -> None:
        await asyncio.gather(*(one.scheduler.close(shutdown_deadline_s) for one in models))
        server.tokenizer_threads.close()
        if edge.tracer:
            await asyncio.to_thread(edge.tracer.close)

    app = App(Dispatch(server, edge, observer), start, stop)
    return _with_cors(app, edge.cors_origins) if edge.cors_origins else app


def _server(models: Items[ServedModel], metrics: Metrics, exposition: Exposition | None, limits: Limits) -> ServerState:
    """The state of a server, with a service for each model."""

    async def own_exposition() -> bytes:
        return metrics.text()

    check_names([one.model.name for one in models])
    routes = served([one.model for one in models])
    server = ServerState(
        version=__version__,
        created=int(time.time()),
        exposition=exposition or own_exposition,
        limits=limits,
        ids=RequestIds(),
        tokenizer_threads=TokenizerThreads(),
        bodies=Bodies(max(limits.max_bodies_bytes, limits.max_body_bytes)),
        routes=routes,
        post_routes={route.path: route for route in routes if route.method == "POST"},
        services={},
        unrouted=models[0].metrics if len(models) == 1 else RequestMetrics(metrics, NO_MODEL),
    )
    for one in models:
        name, engine = one.model.name, one.scheduler.engine_infos[0]
        server.services[name] = Service(
            model=one.model,
            scheduler=one.scheduler,
            metrics=one.metrics,
            cache=one.cache,
            compute_type=f"{engine.device}+{engine.backend}".encode(),
            server=server,
        )
    return server


def _with_cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Allow requests from pages of other origins. CORS preflight requests need no key."""
    from starlette.middleware.cors import CORSMiddleware  # imports half of starlette, so only if it is used

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
