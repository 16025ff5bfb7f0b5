"""The web server of the app: uvicorn, TLS, startup and shutdown. No routes."""

import asyncio
import functools
import gc
import logging
import os
import signal
import sys
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
from openbei.serving.scheduler import Scheduler

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
"""The interpreter's thread switch interval, which can delay the engine's thread.

Python's default is ten times as long.
"""

IDLE_GRACE_S = 1.0
"""How long keep-alive connections stay open after the listener is closed, so that requests in transit are answered."""

TICK_S = 0.02
"""The polling interval during shutdown."""

ENGINE_LOST_STATUS = 70
"""The exit status if the engine hangs or can run no more batches: EX_SOFTWARE of sysexits.h."""

FORCED_END_S = 5
"""How long writing responses may take after the deadline."""


class Server(uvicorn.Server):
    """uvicorn's server, which logs where it listens, and drains the schedulers while it closes connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        schedulers: Items[Scheduler],
        gate: ConnectionGate,
        *,
        drain_s: float,
        deadline_s: float,
    ) -> None:
        super().__init__(config)
        self._schedulers = schedulers
        self._gate = gate
        self._drain_s = drain_s
        self._deadline_s = deadline_s

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, then log the address."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            scheme = "https" if self.config.is_ssl else "http"
            engines = dict.fromkeys(str(info) for scheduler in self._schedulers for info in scheduler.engine_infos)
            log.info("ready on %s://%s:%d (%s)", scheme, host, port, "; ".join(engines))

    async def on_tick(self, counter: int) -> bool:
        """Stop if the engine is lost. Once a second, check for free file descriptors, and for an engine that hangs."""
        if self.has_lost_engine:
            log.critical("no engine is left that can run batches; the server stops with status %d", ENGINE_LOST_STATUS)
            self._drain_s = 0
            return True
        if counter % 10 == 0:
            self._gate.check_descriptors()
            self._end_if_hung()
        return await super().on_tick(counter)

    def _end_if_hung(self) -> None:
        """Take engines that hang out of service. If all hang, end the process: an engine's thread cannot be stopped."""
        for scheduler in self._schedulers:
            scheduler.take_out_hung()
        if hung := [scheduler for scheduler in self._schedulers if scheduler.is_hung]:
            timeout_s = hung[0].limits.engine_timeout_s
            log.critical("a batch has been running for more than %.0f s: the engine hangs, ending", timeout_s)
            _exit(ENGINE_LOST_STATUS)

    @property
    def has_lost_engine(self) -> bool:
        """Whether a model has no engine left that can run batches."""
        return any(scheduler.has_lost_engine for scheduler in self._schedulers)

    @property
    def has_taken_out(self) -> bool:
        """Whether an engine was taken out of service."""
        return any(scheduler.has_taken_out for scheduler in self._schedulers)

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
        for scheduler in self._schedulers:
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
        await asyncio.gather(*(scheduler.close(0) for scheduler in self._schedulers))
        await super().shutdown(sockets)

    @property
    def _connections(self) -> list[BoundedProtocol]:
        return cast(list[BoundedProtocol], list(self.server_state.connections))

    async def _until(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `is_done`, at most `timeout_s`; stop at once if the shutdown is forced."""
        ends_s = time.monotonic() + timeout_s
        while not is_done() and not self.force_exit and time.monotonic() < ends_s:
            await asyncio.sleep(TICK_S)


def build_server(
    app: ASGIApp,
    schedulers: Items[Scheduler],
    *,
    host: str,
    port: int,
    connections: ConnectionLimits | None = None,
    drain_s: float = 0.0,
    shutdown_deadline_s: float = 30.0,
    tls: Tls | None = None,
) -> Server:
    """Configure a server that is not running yet. Port 0 takes a free one.

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
    return Server(config, schedulers, gate, drain_s=drain_s, deadline_s=shutdown_deadline_s)


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


def serve(server: Server) -> None:
    """Serve until TERM or INT, then drain. Raises SystemExit if the port is taken.

    If an engine was taken out of service, the process ends here: with status 70 if it was the last one, else 0.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # modules and models live as long as the server, so garbage collections need not visit them
    try:
        server.run()
    finally:
        gc.unfreeze()
    if server.has_taken_out:
        _exit(ENGINE_LOST_STATUS if server.has_lost_engine else 0)


def _exit(status: int) -> None:
    """End the process at once: an engine that hangs cannot be stopped, and a lost GPU's memory cannot be freed."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(status)
