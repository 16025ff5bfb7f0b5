"""Options of `bei bench` for servers: which ones, and how much load."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from openbei.cli.option_groups import Command, Option, add_grouped
from openbei.errors import InputError

if TYPE_CHECKING:
    from openbei.load.server import Server
    from openbei.report.page import Section
    from openbei.secrets import Secret

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

OPTIONS: tuple[Option, ...] = (
    click.option(
        "--url",
        "urls",
        multiple=True,
        metavar="[LABEL=]URL",
        help="Server to measure under load; repeat to compare several. The path selects the API; without one, it is "
        "OpenAI's /v1/embeddings.",
    ),
    click.option(
        "--rate",
        "rates",
        multiple=True,
        type=click.FloatRange(0, min_open=True),
        help="Requests per second; repeat for several rates.  [default: 10 % to 110 % of each server's capacity, which "
        "is measured first]",
    ),
    click.option(
        "--rate-seconds",
        default=10.0,
        type=click.FloatRange(0, min_open=True),
        help="Seconds to measure each rate; a tenth of it is added as a warm-up.",
    ),
    click.option("--texts", type=_FILE, help="File of texts to send, one per line.  [default: texts of openbei]"),
    click.option("--texts-per-request", default=1, type=click.IntRange(1), help="Number of texts in a request."),
    click.option(
        "--model-name",
        help="Name of the model in the requests; set it if the server has several.  [default: 'default', or none "
        "where the API has no such field]",
    ),
    click.option(
        "--key-file", type=_FILE, help="File with an API key for all servers, or with one line for each --url in order."
    ),
    click.option(
        "--timeout-s",
        default=30.0,
        type=click.FloatRange(0, min_open=True),
        help="Seconds after which a request counts as failed.",
    ),
    click.option(
        "--max-connections", default=256, type=click.IntRange(1, 10_000), help="Maximum connections to a server."
    ),
)


@dataclass(frozen=True, kw_only=True)
class LoadArguments:
    """The values of the options."""

    urls: tuple[str, ...]
    rates: tuple[float, ...]
    rate_seconds: float
    texts: Path | None
    texts_per_request: int
    model_name: str | None
    key_file: Path | None
    timeout_s: float
    max_connections: int

    def servers(self) -> "list[Server]":
        """The servers of the URLs. Raises InputError, and ConfigError for an unreadable key file."""
        from openbei.api.exchange.keys import read_keys
        from openbei.load.server import parse_server

        keys: tuple[Secret | None, ...] = read_keys(self.key_file) if self.key_file else (None,)
        if len(keys) not in (1, len(self.urls)):
            raise InputError(
                f"{self.key_file} has {len(keys)} keys for {len(self.urls)} servers",
                hint="give one key for all, or one line for each --url",
            )
        keys = keys * len(self.urls) if len(keys) == 1 else keys
        return [parse_server(url, model=self.model_name, key=key) for url, key in zip(self.urls, keys, strict=True)]

    def addresses(self) -> str:
        """The servers for a report: label and address."""
        return ", ".join(f"{server.label} at {server.address}" for server in self.servers())

    def measure(self) -> "Section":
        """Measure the servers, and log each step to standard error. Raises InputError."""
        from openbei.accuracy import Texts
        from openbei.load.curves import Plan, measure, section

        servers = self.servers()
        plan = Plan(
            rates=self.rates,
            seconds=self.rate_seconds,
            warmup=self.rate_seconds / 10,
            timeout=self.timeout_s,
            max_connections=self.max_connections,
            texts=Texts.read(self.texts).documents,
            texts_per_request=self.texts_per_request,
        )
        return section(measure(servers, plan, lambda line: click.echo(line, err=True)), self.texts_per_request)


def load_options(command: Command) -> Command:
    """Add OPTIONS, which are passed to the command as `load_arguments: LoadArguments`."""
    return add_grouped(command, OPTIONS, "load_arguments", LoadArguments)
