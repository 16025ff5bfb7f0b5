"""The web server of the app: uvicorn, TLS, startup and shutdown. No routes."""

import asyncio
import functools
import logging
import signal
import socket
import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from openbei.api.connections.gate import ConnectionGate, ConnectionLimits
from openbei.api.connections.protocol import BoundedProtocol
from openbei.api.connections.tls import Handshake, Tls
from openbei.errors import ConfigError
from openbei.serving.process import ENGINE_LOST_STATUS, end_if_hung, end_if_taken_out, serving_interpreter
from openbei.serving.request_scheduler import RequestScheduler

log = logging.getLogger(__name__)

IDLE_GRACE_S = 1.0
"""How long keep-alive connections stay open after the listener is closed, so that requests in transit are answered."""

TICK_S = 0.02
"""The polling interval during shutdown."""

FORCED_END_S = 5
"""How long writing responses may take after the deadline."""


class Server(uvicorn.Server):
    """uvicorn's server, which logs where it listens, and drains the schedulers while it closes connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        schedulers: Items[RequestScheduler],
        gate: ConnectionGate,
        *,
        drain_s: float,
        deadline_s: float,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._announce = announce or self._log_ready
        self.schedulers = schedulers
        self._gate = gate
        self._drain_s = drain_s
        self._deadline_s = deadline_s

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, then announce the address."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self._announce(url_of(host, port, has_tls=self.config.is_ssl))

    def _log_ready(self, address: str) -> None:
        engines = dict.fromkeys(str(info) for scheduler in self.schedulers for info in scheduler.engine_infos)
        log.info("ready on %s (%s)", address, "; ".join(engines))

    async def on_tick(self, counter: int) -> bool:
        """Stop if the engine is lost. Once a second, check for free file descriptors, and for an engine that hangs."""
        if self.has_lost_engine:
            log.critical("no engine is left that can run batches; the server stops with status %d", ENGINE_LOST_STATUS)
            self._drain_s = 0
            return True
        if counter % 10 == 0:
            self._gate.check_descriptors()
            end_if_hung(self.schedulers)
        return await super().on_tick(counter)

    @property
    def has_lost_engine(self) -> bool:
        """Whether a model has no engine left that can run batches."""
        return any(scheduler.has_lost_engine for scheduler in self.schedulers)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down on a signal.

        The signal is not stored, because uvicorn would raise it again after a clean shutdown.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        if sig == signal.SIGINT:
            self._drain_s = 0  # Ctrl-C: a person is waiting, not a load balancer

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Drain for load balancers, close the listener, and finish open requests until the deadline."""
        self._gate.is_draining = True
        for scheduler in self.schedulers:
            scheduler.drain()
        if self._drain_s:
            log.info("draining: new connections are answered for %.0f s more", self._drain_s)
            await self._until(lambda: False, self._drain_s)
        log.info("shutting down, at most %.0f s", self._deadline_s)
        for server in self.servers:
            server.close()
        ends_s = time.monotonic() + self._deadline_s
        await self._until(lambda: not self._connections, min(IDLE_GRACE_S, self._deadline_s))
        await self._until(lambda: not any(one.is_busy for one in self._connections), ends_s - time.monotonic())
        for connection in self._connections:
            connection.refuse_incomplete()
        await asyncio.gather(*(scheduler.close(0) for scheduler in self.schedulers))
        await super().shutdown(sockets)

    @property
    def _connections(self) -> list[BoundedProtocol]:
        return cast(list[BoundedProtocol], list(self.server_state.connections))

    async def _until(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `is_done`, at most `timeout_s`; stop at once if the shutdown is forced."""
        ends_s = time.monotonic() + timeout_s
        while not is_done() and not self.force_exit and time.monotonic() < ends_s:
            await asyncio.sleep(TICK_S)


def url_of(host: str, port: int, *, has_tls: bool) -> str:
    """The URL of a server at an IP address."""
    return f"{'https' if has_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def build_server(
    app: ASGIApp,
    schedulers: Items[RequestScheduler],
    *,
    host: str,
    port: int,
    connections: ConnectionLimits | None = None,
    drain_s: float = 0.0,
    shutdown_deadline_s: float = 30.0,
    tls: Tls | None = None,
    announce: Callable[[str], None] | None = None,
) -> Server:
    """Configure a server that is not running yet. Port 0 takes a free one.

    `announce` is called with the address once the server listens; by default it is logged.

    Raises ConfigError for certificates that cannot be used.
    """
    gate = ConnectionGate(connections or ConnectionLimits())
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=cast(type[asyncio.Protocol], functools.partial(BoundedProtocol, gate=gate)),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=cast(int, gate.limits.keep_alive_s),
        backlog=2048,
        timeout_graceful_shutdown=FORCED_END_S,
        **(tls.options() if tls else {}),
    )
    _load(config)
    _count_handshakes(config, gate)
    return Server(config, schedulers, gate, drain_s=drain_s, deadline_s=shutdown_deadline_s, announce=announce)


def _load(config: uvicorn.Config) -> None:
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"the certificates cannot be used: {error.strerror or error}",
            hint="check --ssl-certfile, --ssl-keyfile, OPENBEI_SSL_KEYFILE_PASSWORD and --ssl-ca-certs",
        ) from None


def _count_handshakes(config: uvicorn.Config, gate: ConnectionGate) -> None:
    """Accept connections without TLS, so that they are counted before their handshake."""
    context, config.ssl = config.ssl, None
    if context is None:
        return
    make_protocol = cast(Callable[..., asyncio.Protocol], config.http_protocol_class)

    def handshake(**arguments: Any) -> Handshake:  # noqa: ANN401
        return Handshake(lambda admission: make_protocol(**arguments, admission=admission), context, gate)

    config.http_protocol_class = cast(type[asyncio.Protocol], handshake)


def serve(server: Server, sockets: list[socket.socket] | None = None) -> None:
    """Serve until TERM or INT, on `sockets` if given, then drain. Raises SystemExit if the port is taken.

    If an engine was taken out of service, the process ends here: with status 70 if it was the last one, else 0.
    """
    with serving_interpreter():
        server.run(sockets)
    end_if_taken_out(server.schedulers)
