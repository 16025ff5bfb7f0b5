"""TLS: the server's certificates, and handshakes with a deadline that count as connections."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from openbei.api.connections.gate import Admission, ConnectionGate
from openbei.config import Secret


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """The server's certificate. With `ca_certs`, clients need a certificate of one of these authorities."""

    certfile: Path
    keyfile: Path | None = None
    keyfile_password: Secret | None = None
    ca_certs: Path | None = None

    def options(self) -> dict[str, Any]:
        """Options of uvicorn."""
        return {
            "ssl_certfile": str(self.certfile),
            "ssl_keyfile": str(self.keyfile) if self.keyfile else None,
            # With None, OpenSSL would prompt for the password of an encrypted key on the terminal.
            "ssl_keyfile_password": str(self.keyfile_password or ""),
            "ssl_ca_certs": str(self.ca_certs) if self.ca_certs else None,
            "ssl_cert_reqs": ssl.CERT_REQUIRED if self.ca_certs else ssl.CERT_NONE,
        }


class Handshake(asyncio.Protocol):
    """A TCP connection before its TLS handshake. After it, a protocol of `make_protocol` takes over.

    The event loop's own TLS server creates its protocol after the handshake, so it cannot count those in progress.
    """

    def __init__(
        self, make_protocol: Callable[[Admission], asyncio.Protocol], context: ssl.SSLContext, gate: ConnectionGate
    ) -> None:
        self._make_protocol = make_protocol
        self._context = context
        self._gate = gate
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the socket from the transport, which has not read from it yet."""
        admission = self._gate.admit(transport.get_extra_info("peername"))
        try:
            if not self._gate.is_flooded:
                connection = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
                self._task = asyncio.get_running_loop().create_task(self._handshake(connection, admission))
        except OSError:  # out of file descriptors
            pass
        finally:
            if self._task is None:
                admission.leave()
            cast(asyncio.Transport, transport).abort()

    async def _handshake(self, connection: socket.socket, admission: Admission) -> None:
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(admission),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._gate.limits.request_timeout_s,
            )
        except OSError:  # includes ssl.SSLError and TimeoutError
            admission.leave()
        except BaseException:
            admission.leave()
            raise
