"""How the server meets its clients, whatever they ask for. No logic."""

from dataclasses import dataclass, field

from openbei.api.guard import Guard
from openbei.api.tracing import Tracer


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """Who may ask, from which web pages, whether answers are compressed, and where requests are told of."""

    guard: Guard = field(default_factory=Guard)
    cors_origins: tuple[str, ...] = ()
    compresses: bool = True
    logs_requests: bool = False
    tracer: Tracer | None = None
