"""Options of `bei serve` about connections: how many, how long, and how they end when the server does."""

from dataclasses import dataclass

import click
from starlette.types import ASGIApp

from openbei.api.connections.gate import ConnectionLimits
from openbei.api.connections.tls import Tls
from openbei.api.server import Server, build_server
from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.serving.scheduler import Scheduler


@dataclass(frozen=True, kw_only=True)
class ConnectionArguments(ConnectionLimits):
    """What the command line says."""

    drain_s: float = 0.0
    shutdown_timeout_s: float = 30.0

    def server(self, app: ASGIApp, scheduler: Scheduler, *, host: str, port: int, tls: Tls | None) -> Server:
        """The server. Raises what `build_server` raises."""
        return build_server(
            app,
            scheduler,
            host=host,
            port=port,
            connections=self,
            drain_s=self.drain_s,
            shutdown_deadline_s=self.shutdown_timeout_s,
            tls=tls,
        )


DEFAULTS = ConnectionArguments()

OPTIONS: tuple[Option, ...] = (
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
        help="Seconds that a request's head may take, and a body or an answer of which less than 10 kB a second come "
        "through. Up for slow networks.",
    ),
    click.option(
        "--body-timeout-s",
        default=DEFAULTS.body_timeout_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds that a whole body may take, however steadily it comes, and a whole answer. Up for large ones "
        "over slow networks.",
    ),
    click.option(
        "--drain-s",
        default=DEFAULTS.drain_s,
        type=click.FloatRange(0),
        help="Seconds after SIGTERM in which new connections are still answered, while /health says 503. Set it to "
        "what the load balancer needs to notice.",
    ),
    click.option(
        "--shutdown-timeout-s",
        default=DEFAULTS.shutdown_timeout_s,
        type=click.FloatRange(0),
        help="Seconds that requests in flight have once the server stops listening. Up for long requests.",
    ),
)


def connection_options(command: Command) -> Command:
    """Add OPTIONS, which the command gets as one argument, `connections: ConnectionArguments`."""
    return add_grouped(command, OPTIONS, "connections", ConnectionArguments)
