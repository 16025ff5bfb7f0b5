"""What a route handler is given, and what a row of the ROUTES table is. No logic."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from openbei.api.bodies import Bodies
from openbei.api.call import Call, Reply
from openbei.engine_dir import Manifest
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import Scheduler
from openbei.serving.tokenizer import Tokenizer

RerankOrder = Literal["input", "score"]
"""How /rerank sorts: as the texts came (BEI), or the highest score first (TEI)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a client may send in one request, what all bodies may hold at once, and what holds where it says nothing.

    A body that comes compressed may inflate to `max_inflated_bytes`, and no more than `max_body_bytes`. Inputs that are
    too long are cut if `auto_truncate`, else refused, unless the request itself has `truncate`.
    """

    max_client_batch_size: int = 2048
    max_body_bytes: int = 100_000_000
    max_inflated_bytes: int = 32_000_000
    max_bodies_bytes: int = 300_000_000
    rerank_order: RerankOrder = "input"
    auto_truncate: bool = True


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
    routes: "tuple[Row, ...]"


Handler = Callable[[Service, Call], Awaitable[Reply]]

Dialect = Literal["openai", "tei", "cohere"]
"""Whose shape an error has."""

Access = Literal["guarded", "health", "metrics", "open"]
"""What a key is needed for: guarded always, health and metrics as the server was told, open never."""


@dataclass(frozen=True, slots=True)
class Row:
    """One route: what answers, and what /openapi.json says of it.

    `request` and `response` are types, or tuples of those that may come; without a `response` the answer is text of
    `content_type`, or has no body if that is None too.
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
