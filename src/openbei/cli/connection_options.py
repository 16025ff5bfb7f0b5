"""Options of `bei serve` about connections: how many, how long, and how the server parts from them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from starlette.types import ASGIApp

from openbei.api.connections import ConnectionLimits
from openbei.api.server import Tls, serve
from openbei.serving.scheduler import Scheduler

DEFAULTS = ConnectionLimits()

OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--max-connections",
        type=click.IntRange(1),
        help="Connections at once; more get 503. Down to keep descriptors for others.  "
        "[default: what `ulimit -n` leaves]",
    ),
    click.option(
        "--max-connections-per-address",
        type=click.IntRange(1),
        help="The same from one address; more get 429. Set it where clients are not trusted and no proxy is in front.  "
        "[default: no limit]",
    ),
    click.option(
        "--keep-alive-s",
        default=DEFAULTS.keep_alive_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds that an idle connection stays open. It has to be longer than the proxy in front keeps its own.",
    ),
    click.option(
        "--max-connection-age-s",
        type=click.FloatRange(0, min_open=True),
        help="Seconds after which a connection ends with its next answer. Set it so that clients spread over new "
        "replicas.  [default: no limit]",
    ),
    click.option(
        "--request-timeout-s",
        default=DEFAULTS.request_timeout_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds that a request's head may take, and a body that brings less than 10 kB a second. Up for slow "
        "networks.",
    ),
    click.option(
        "--body-timeout-s",
        default=DEFAULTS.body_timeout_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds that a whole body may take, however steadily it comes. Up for large bodies over slow networks.",
    ),
    click.option(
        "--drain-s",
        default=0.0,
        type=click.FloatRange(0),
        help="Seconds after SIGTERM in which new connections are still answered, while /health says 503. Set it to "
        "what the load balancer needs to notice.",
    ),
    click.option(
        "--shutdown-timeout-s",
        default=30.0,
        type=click.FloatRange(0),
        help="Seconds that requests in flight have once the server stops listening. Up for long requests.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ConnectionArguments:
    """What the command line says."""

    max_connections: int | None
    max_connections_per_address: int | None
    keep_alive_s: float
    max_connection_age_s: float | None
    request_timeout_s: float
    body_timeout_s: float
    drain_s: float
    shutdown_timeout_s: float

    def serve(self, app: ASGIApp, scheduler: Scheduler, *, host: str, port: int, tls: Tls | None) -> None:
        """Serve until told to stop. Raises what `serve` raises."""
        serve(
            app,
            scheduler,
            host=host,
            port=port,
            connections=self._limits(),
            drain_s=self.drain_s,
            shutdown_deadline_s=self.shutdown_timeout_s,
            tls=tls,
        )

    def _limits(self) -> ConnectionLimits:
        return ConnectionLimits(
            max_connections=self.max_connections,
            max_connections_per_address=self.max_connections_per_address,
            keep_alive_s=self.keep_alive_s,
            max_connection_age_s=self.max_connection_age_s,
            request_timeout_s=self.request_timeout_s,
            body_timeout_s=self.body_timeout_s,
        )


def connection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add OPTIONS, which the command gets as one argument, `connections: ConnectionArguments`."""
    names = ConnectionArguments.__dataclass_fields__

    @functools.wraps(command)
    def gathered(**options: object) -> None:
        own: dict[str, Any] = {name: options.pop(name) for name in names}
        command(**options, connections=ConnectionArguments(**own))

    for option in reversed(OPTIONS):
        gathered = option(gathered)
    return gathered
