"""What a handler is given, and what a route of the ROUTES table is. No logic."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from openbei.api.exchange.bodies import Bodies
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.errors import Dialect
from openbei.api.exchange.keys import Access
from openbei.api.limits import Limits
from openbei.engine_dir import Manifest
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import Scheduler
from openbei.serving.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Everything behind the routes. `created` is the start time in Unix seconds."""

    manifest: Manifest
    version: str
    created: int
    tokenizer: Tokenizer
    scheduler: Scheduler
    metrics: Metrics
    limits: Limits
    bodies: Bodies
    routes: "tuple[Route, ...]"

    def route(self, path: str) -> "Route":
        """The route that answers POST at a path of the table."""
        return next(route for route in self.routes if (route.method, route.path) == ("POST", path))


Handler = Callable[[Service, Call, Body], Awaitable[Reply]]
"""What answers a request. The body of a GET is empty."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route: what answers, and what /openapi.json says of it.

    `request` and `response` are types, or tuples of those that may come; without a `response` the answer is text of
    `content_type`, or has no body if that is None too. Errors have the shape of a `dialect`.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    request: Any = None
    response: Any = None
    failures: tuple[int, ...] = ()
    dialect: Dialect = "openai"
    access: Access = "guarded"
    content_type: str | None = None
