"""A rolling restart under load: servers behind a TCP balancer restart one after the other, and no request fails.

RESTART_REQUESTS is the minimum number of requests; `make soak` sends 20,000.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from openbei.engine_dir import EngineDir
from openbei.model import Model
from tests.emulators import free_port

NUM_SERVERS, NUM_CLIENTS = 2, 8
NUM_REQUESTS = int(os.environ.get("RESTART_REQUESTS", 500))
DRAIN_S, PROBE_S, PAUSE_S = 2, 0.05, 0.03
"""A server drains for longer than the balancer needs to notice it, even on a busy machine. Clients pause between
requests."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Server:
    """`bei serve` on a port of its own."""

    engine_dir: EngineDir
    port: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        command = [sys.executable, "-m", "openbei", "serve", str(self.engine_dir.path), "--threads", "1"]
        options = ["--port", str(self.port), "--drain-s", str(DRAIN_S), "--log-level", "error"]
        self.process = await asyncio.create_subprocess_exec(*command, *options)
        while await status(self.port, "/readyz") != 200:
            assert self.process.returncode is None
            await asyncio.sleep(PROBE_S)

    async def stop(self) -> int:
        """Send SIGTERM; returns the exit status."""
        assert self.process
        self.process.terminate()
        return await self.process.wait()


class Balancer:
    """Gives each connection to the next server that was ready when it was last probed. It retries nothing."""

    def __init__(self, servers: list[Server]) -> None:
        self._turns = itertools.count()
        self._ports = [server.port for server in servers]
        self._ready = list(self._ports)

    async def probe(self) -> None:
        """Check which servers are ready, until cancelled."""
        while True:
            statuses = await asyncio.gather(*(status(port, "/readyz") for port in self._ports))
            self._ready = [port for port, code in zip(self._ports, statuses, strict=True) if code == 200]
            await asyncio.sleep(PROBE_S)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes between a client and a server, until one of them closes the connection."""
        port = self._ready[next(self._turns) % len(self._ready)]
        with contextlib.closing(writer):
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(server_writer), contextlib.suppress(ConnectionError):
                ways = [copy(reader, server_writer), copy(server_reader, writer)]
                tasks = [asyncio.create_task(way) for way in ways]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(1 << 16):
        writer.write(content)
        await writer.drain()


async def status(port: int, path: str) -> int | None:
    """The status of a GET, or None if nothing listens."""
    try:
        stream = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(stream[1]):
            return (await exchange(stream, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()))[0]
    except (OSError, EOFError):
        return None


async def exchange(stream: Stream, request: bytes) -> tuple[int, bytes, bool]:
    """Status and body of the response, and whether the server closes the connection."""
    reader, writer = stream
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    [length] = re.findall(rb"content-length: (\d+)", head)
    return int(head[9:12]), await reader.readexactly(int(length)), b"\r\nconnection: close" in head


class Clients:
    """Send requests on connections that they keep open, and check the responses."""

    def __init__(self, port: int, engine_dir: EngineDir) -> None:
        self.num_sent = self.num_connections = 0
        self._port = port
        self._texts = [f"the text of client {index}" for index in range(NUM_CLIENTS)]
        with Model(engine_dir.path) as model:
            self._expected = model.embed(self._texts)

    async def run(self, index: int, is_over: Callable[[], bool]) -> None:
        """Send requests until `is_over`. A connection is opened anew only after a response that announced its end."""
        body = json.dumps({"inputs": self._texts[index]}).encode()
        request = b"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        stream: Stream | None = None
        while not is_over():
            if stream is None:
                stream = await asyncio.open_connection("127.0.0.1", self._port)
                self.num_connections += 1
            code, content, closes = await exchange(stream, request)
            assert code == 200, content
            np.testing.assert_allclose(json.loads(content)[0], self._expected[index], atol=1e-3)
            self.num_sent += 1
            if closes:
                stream[1].close()
                stream = None
            await asyncio.sleep(PAUSE_S)
        if stream:
            stream[1].close()


async def restart_under_load(engine_dir: EngineDir) -> tuple[Clients, int]:
    """Restart all servers until enough requests were sent; returns the clients and the number of restarts."""
    servers = [Server(engine_dir) for _ in range(NUM_SERVERS)]
    await together(*(server.start() for server in servers))
    balancer = Balancer(servers)
    listener = await asyncio.start_server(balancer.connect, "127.0.0.1", 0)
    clients = Clients(listener.sockets[0].getsockname()[1], engine_dir)
    restarts = 0

    def is_over() -> bool:
        return restarts >= NUM_SERVERS and clients.num_sent >= NUM_REQUESTS

    async def restart() -> None:
        nonlocal restarts
        while not is_over():
            server = servers[restarts % NUM_SERVERS]
            assert await server.stop() == 0
            await server.start()
            await asyncio.sleep(2 * PROBE_S)
            restarts += 1

    probe = asyncio.create_task(balancer.probe())
    try:
        await together(restart(), *(clients.run(index, is_over) for index in range(NUM_CLIENTS)))
    finally:
        probe.cancel()
        listener.close()
        for server in servers:
            if server.process and server.process.returncode is None:
                server.process.kill()
                await server.process.wait()
    return clients, restarts


async def together(*work: Awaitable[None]) -> None:
    """Wait for all; the first exception cancels the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def test_no_request_fails(tiny_engine_dir: EngineDir) -> None:
    clients, restarts = asyncio.run(restart_under_load(tiny_engine_dir))
    assert restarts >= NUM_SERVERS
    assert clients.num_sent >= NUM_REQUESTS
    assert clients.num_connections > NUM_CLIENTS, "connections have moved"
