"""Options of `bei serve` for access, TLS, compression, the web page, logs and traces."""

import ipaddress
import logging
import stat
from dataclasses import dataclass
from pathlib import Path

import click

from openbei import __version__
from openbei.api.connections.tls import Tls
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard, read_keys
from openbei.api.exchange.tracing import Tracer
from openbei.cli.certificates import check_certificates
from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.config import Environment
from openbei.errors import ConfigError
from openbei.secrets import Secret

_log = logging.getLogger(__name__)

_FILE = click.Path(path_type=Path, dir_okay=False)

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--api-key",
        "api_keys",
        multiple=True,
        help="API key that clients must send; may be repeated. Other users of this machine can see it: prefer "
        "--api-key-file or OPENBEI_API_KEY.",
    ),
    click.option("--api-key-file", type=_FILE, help="File with one API key per line; # starts a comment."),
    click.option(
        "--guard-health",
        is_flag=True,
        help="Also require a key for /health, /ping, /readyz, /livez and GET /; set if your probes send one.",
    ),
    click.option(
        "--open-metrics", is_flag=True, help="Do not require a key for /metrics; set if Prometheus cannot send one."
    ),
    click.option(
        "--cors-allow-origin",
        "cors_origins",
        multiple=True,
        help="Origin whose web pages may send requests, or * for any; may be repeated.  [default: none]",
    ),
    click.option("--ssl-certfile", type=_FILE, help="Certificate chain (PEM); enables HTTPS."),
    click.option("--ssl-keyfile", type=_FILE, help="Private key (PEM), if it is not in --ssl-certfile."),
    click.option(
        "--ssl-ca-certs",
        type=_FILE,
        help="CA certificates (PEM); clients must present a certificate signed by one of them.",
    ),
    click.option("--no-compression", is_flag=True, help="Never compress responses; set if the CPU is the bottleneck."),
    click.option(
        "--no-page",
        is_flag=True,
        help="Do not serve the web page at /, which then lists the routes, also in browsers; set if only programs use "
        "the server.",
    ),
    click.option("--access-log", is_flag=True, help="Log one line per request."),
    click.option("--otlp-endpoint", help="OpenTelemetry collector (OTLP over HTTP) that gets a span per request."),
)


@dataclass(frozen=True, kw_only=True)
class EdgeArguments:
    """The values of the options."""

    api_keys: tuple[str, ...]
    api_key_file: Path | None
    guard_health: bool
    open_metrics: bool
    cors_origins: tuple[str, ...]
    ssl_certfile: Path | None
    ssl_keyfile: Path | None
    ssl_ca_certs: Path | None
    no_compression: bool
    no_page: bool
    access_log: bool
    otlp_endpoint: str | None

    def guard(self, environment: Environment) -> Guard:
        """The API keys. Raises ConfigError for invalid ones."""
        return Guard(self._keys(environment), guards_health=self.guard_health, opens_metrics=self.open_metrics)

    def edge(self, guard: Guard) -> Edge:
        """The server's edge. Raises ConfigError if a library is missing."""
        return Edge(
            guard=guard,
            cors_origins=self.cors_origins,
            compresses=not self.no_compression,
            has_page=not self.no_page,
            logs_requests=self.access_log,
            tracer=Tracer(self.otlp_endpoint, __version__) if self.otlp_endpoint else None,
        )

    def tls(self, environment: Environment) -> Tls | None:
        """The certificates, or None. Raises ConfigError if they cannot be used."""
        if self.ssl_certfile is None:
            if self.ssl_keyfile or self.ssl_ca_certs:
                raise ConfigError("--ssl-keyfile and --ssl-ca-certs need --ssl-certfile")
            return None
        tls = Tls(
            certfile=self.ssl_certfile,
            keyfile=self.ssl_keyfile,
            keyfile_password=environment.ssl_keyfile_password,
            ca_certs=self.ssl_ca_certs,
        )
        check_certificates(tls)
        return tls

    def _keys(self, environment: Environment) -> tuple[Secret, ...]:
        if not all(key.strip() for key in self.api_keys):
            raise ConfigError("--api-key is empty")
        given = tuple(Secret(key.strip()) for key in self.api_keys)
        return (*given, *self._keys_of_file(), *environment.api_keys) or environment.config_api_keys

    def _keys_of_file(self) -> tuple[Secret, ...]:
        if self.api_key_file is None:
            return ()
        keys = read_keys(self.api_key_file)
        if self.api_key_file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            _log.warning("%s can be read by others on this machine; chmod 600 keeps it yours", self.api_key_file)
        return keys


def edge_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `arguments: EdgeArguments`."""
    return add_grouped(command, OPTIONS, "arguments", EdgeArguments)


def warn_if_open(host: str, guard: Guard) -> None:
    """Warn if other machines can connect without a key."""
    if guard.num_keys == 0 and not _is_loopback(host):
        _log.warning("listening on %s without API keys: anyone who can connect may use it (see --api-key)", host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
