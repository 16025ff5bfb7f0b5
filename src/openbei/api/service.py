"""The arguments of a handler, and the fields of a route. No logic."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from openbei.api.exchange.bodies import Bodies
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.errors import Dialect
from openbei.api.exchange.keys import Access
from openbei.api.exchange.request_ids import RequestIds
from openbei.api.limits import Limits
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import ModelMetrics, RequestMetrics
from openbei.serving.request_scheduler import RequestScheduler
from openbei.serving.result_cache import ResultCache
from openbei.serving.tokenizer_threads import TokenizerThreads


class HasLimits(Protocol):
    """A server, as far as reading a request needs it."""

    @property
    def limits(self) -> Limits:
        """The limits of one request."""
        ...


class Context(Protocol):
    """A model and its server, as far as reading and tokenizing a request needs them. A `Service` is one."""

    @property
    def model(self) -> LoadedModel:
        """The model."""
        ...

    @property
    def server(self) -> HasLimits:
        """The server."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerState:
    """What all models of a server share. `created` is the start time in Unix seconds.

    `ids` are for requests and answers. `post_routes` has the POST routes by path, `services` a service for each model
    by its name. `unrouted` are the metrics of requests that fail before a model is chosen. `exposition` returns all
    metrics as Prometheus reads them.
    """

    version: str
    created: int
    exposition: Callable[[], Awaitable[bytes]]
    limits: Limits
    bodies: Bodies
    tokenizer_threads: TokenizerThreads
    ids: RequestIds
    routes: "tuple[Route, ...]"
    post_routes: "dict[str, Route]"
    services: "dict[str, Service]"
    unrouted: RequestMetrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """The context of handlers: a model that is served, and the server. `compute_type` is its device and backend."""

    model: LoadedModel
    scheduler: RequestScheduler
    metrics: ModelMetrics
    cache: ResultCache | None
    compute_type: bytes
    server: ServerState


Handler = Callable[[Service, Call, Body], Awaitable[Reply]]
"""Answers a request. The body of a GET is empty."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its handler, and its description in /openapi.json.

    `request` and `response` are a type or a tuple of alternatives. Without a `response` the answer is text of
    `content_type`, or empty if that is None, too. Errors have the shape of `dialect`.
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
