"""Options of `bei serve` for connections: their number, their timeouts, and shutdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
from starlette.types import ASGIApp

from openbei.api.connections.gate import ConnectionLimits
from openbei.api.connections.tls import Tls
from openbei.api.server import Server, build_server
from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.serving.request_scheduler import RequestScheduler


@dataclass(frozen=True, kw_only=True)
class ConnectionArguments(ConnectionLimits):
    """The values of the options."""

    drain_s: float = 0.0
    shutdown_timeout_s: float = 30.0

    def server(
        self,
        app: ASGIApp,
        schedulers: Sequence[RequestScheduler],
        *,
        host: str,
        port: int,
        tls: Tls | None,
        announce: Callable[[str], None] | None = None,
    ) -> Server:
        """Build the server. Raises what `build_server` raises."""
        return build_server(
            app,
            schedulers,
            host=host,
            port=port,
            connections=self,
            drain_s=self.drain_s,
            shutdown_deadline_s=self.shutdown_timeout_s,
            tls=tls,
            announce=announce,
        )


DEFAULTS = ConnectionArguments()

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--max-connections",
        type=click.IntRange(1),
        help="Maximum open connections (503 above this); lower to save file descriptors.  "
        "[default: `ulimit -n` minus 96]",
    ),
    click.option(
        "--max-connections-per-address",
        type=click.IntRange(1),
        help="Maximum open connections per client address (429 above this); set if untrusted clients connect "
        "without a proxy.  [default: no limit]",
    ),
    click.option(
        "--keep-alive-s",
        default=DEFAULTS.keep_alive_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds until an idle connection is closed; set it higher than the idle timeout of your proxy.",
    ),
    click.option(
        "--max-connection-age-s",
        type=click.FloatRange(0, min_open=True),
        help="Seconds after which a connection is closed with its next response; set to let clients move to new "
        "replicas.  [default: no limit]",
    ),
    click.option(
        "--request-timeout-s",
        default=DEFAULTS.request_timeout_s,
        type=click.FloatRange(0, min_open=True),
        help="Seconds for the headers of a request to arrive; bodies and responses have as long plus a second per "
        "10 kB; raise for slow networks.",
    ),
    click.option(
        "--body-timeout-s",
        default=DEFAULTS.body_timeout_s,
        type=click.FloatRange(0, min_open=True),
        help="Maximum seconds for a body to arrive, and for a response to be read; raise for large ones on slow "
        "networks.",
    ),
    click.option(
        "--drain-s",
        default=DEFAULTS.drain_s,
        type=click.FloatRange(0),
        help="Seconds to accept new connections after SIGTERM, while /health answers 503; set to the time your load "
        "balancer needs to notice it.",
    ),
    click.option(
        "--shutdown-timeout-s",
        default=DEFAULTS.shutdown_timeout_s,
        type=click.FloatRange(0),
        help="Seconds to finish open requests after the server stops listening; raise for long requests.",
    ),
)


def connection_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `connections: ConnectionArguments`."""
    return add_grouped(command, OPTIONS, "connections", ConnectionArguments)
