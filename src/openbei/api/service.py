"""What a route handler is given, and what a row of the ROUTES table is. No logic."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from openbei.api.call import Call, Reply
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import Scheduler
from openbei.serving.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a client may send in one request."""

    max_client_batch_size: int = 2048
    max_body_bytes: int = 100_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Everything behind the routes. `created` is the start time in Unix seconds."""

    model_name: str
    hidden_size: int
    version: str
    created: int
    tokenizer: Tokenizer
    scheduler: Scheduler
    metrics: Metrics
    limits: Limits
    routes: "tuple[Row, ...]"


Handler = Callable[[Service, Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Row:
    """One route: what answers, and what /openapi.json says of it."""

    method: str
    path: str
    handler: Handler
    summary: str
    request: type | None = None
    response: type | None = None
    failures: tuple[int, ...] = ()
