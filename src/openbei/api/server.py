"""The web server around the app: uvicorn, its limits, its start and its end. No routes."""

import asyncio
import logging
import signal
import sys
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from openbei.serving.scheduler import Scheduler

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 65_536

SWITCH_INTERVAL_S = 0.0005
"""How long the event loop may keep the engine's thread from its next batch (Python's default is ten times that)."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which by itself reads headers without end."""

    _header_bytes = 0
    _is_in_body = False

    def data_received(self, data: bytes) -> None:
        """Hang up on headers above the limit."""
        if not self._is_in_body:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """Headers are over."""
        self._is_in_body = True
        self._header_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next bytes are headers again."""
        self._is_in_body = False
        self._header_bytes = 0
        super().on_message_complete()


class Server(uvicorn.Server):
    """uvicorn's server, which logs where it listens, and drains the scheduler while it closes connections."""

    def __init__(self, config: uvicorn.Config, scheduler: Scheduler, deadline_s: float) -> None:
        super().__init__(config)
        self._scheduler = scheduler
        self._deadline_s = deadline_s

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Say where it listens once it does."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            log.info("ready on http://%s:%d (%s)", host, port, self._scheduler.engine_description)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal. It is not kept, for uvicorn raises what it kept once more after a clean end."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Refuse new requests, finish those in flight, and fail what is left at the deadline."""
        log.info("shutting down, at most %.0f s", self._deadline_s)
        draining = asyncio.create_task(self._scheduler.close(self._deadline_s))
        await super().shutdown(sockets)
        await draining


def build_server(
    app: ASGIApp, scheduler: Scheduler, *, host: str, port: int, shutdown_deadline_s: float = 30.0
) -> Server:
    """Configure a server that is not running yet. Port 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        backlog=2048,
        # A little more than the scheduler's own, so that what is late gets an answer and not a closed connection.
        timeout_graceful_shutdown=int(shutdown_deadline_s) + 5,
    )
    return Server(config, scheduler, shutdown_deadline_s)


def serve(app: ASGIApp, scheduler: Scheduler, *, host: str, port: int, shutdown_deadline_s: float = 30.0) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises SystemExit if the port is taken."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    build_server(app, scheduler, host=host, port=port, shutdown_deadline_s=shutdown_deadline_s).run()
