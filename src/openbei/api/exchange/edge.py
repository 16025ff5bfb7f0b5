"""Settings that apply to every request. No logic."""

from dataclasses import dataclass, field

from openbei.api.exchange.keys import Guard
from openbei.api.exchange.tracing import Tracer


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """API keys, allowed origins, compression of answers, the web page, and where requests are recorded."""

    guard: Guard = field(default_factory=Guard)
    cors_origins: tuple[str, ...] = ()
    compresses: bool = True
    has_page: bool = True
    logs_requests: bool = False
    tracer: Tracer | None = None
