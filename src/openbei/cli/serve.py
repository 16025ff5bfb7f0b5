"""`bei serve`: its options, and the choice between one process and several."""

import sys
from pathlib import Path

import click

from openbei.api.limits import Limits
from openbei.cli import logs
from openbei.cli.connection_options import ConnectionArguments, connection_options
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.from_environment import options_from_environment
from openbei.cli.front_processes import run as run_in_processes
from openbei.cli.listening import check_free
from openbei.cli.queue_options import queue_options
from openbei.cli.request_options import request_options
from openbei.cli.served_model import ModelArguments, model_options
from openbei.cli.serving import Serving
from openbei.cli.serving_options import EdgeArguments, edge_options, warn_if_open
from openbei.config import Environment
from openbei.serving.queue_budget import QueueLimits

MEGABYTE = 1_000_000


@click.command
@options_from_environment
@click.argument("target", nargs=-1, required=True, metavar="TARGET...")
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 to allow other machines.")
@click.option("--port", default=7997, type=click.IntRange(0, 65535), help="Port to listen on; 0 for any free port.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Engine directory to write if the TARGET has to be built; for a single TARGET.  [default: one in the cache]",
)
@engine_options
@model_options
@queue_options
@click.option(
    "--cache-mb",
    default=0,
    type=click.IntRange(0),
    help="Size of each model's cache of results in megabytes; set it if inputs repeat, such as popular queries. "
    "0 disables the cache.",
)
@click.option(
    "--verify/--no-verify",
    default=True,
    help="Verify the hashes of an engine directory's files at every start, or only their sizes; skip the hashes to "
    "start large models faster from storage that you trust.",
)
@click.option(
    "--front-processes",
    default=0,
    type=click.IntRange(0, 256),
    help="Processes that handle HTTP and tokenize for the one with the engines; set it if a fast GPU waits for them. "
    "0 does everything in one process.",
)
@request_options
@click.option(
    "--log-level",
    default="info",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    help="Lowest level to log; debug to investigate a problem.",
)
@click.option(
    "--log-format",
    default="text",
    type=click.Choice(["text", "json"]),
    help="Format of log lines; json for log collectors.",
)
@click.option(
    "--log-to",
    default="stderr",
    type=click.Choice(["stderr", "stdout"]),
    help="Stream for log lines; stdout if your log collector treats all of stderr as errors.",
)
@connection_options
@edge_options
def command(
    target: tuple[str, ...],
    host: str,
    port: int,
    out: Path | None,
    engine_arguments: EngineArguments,
    queue_limits: QueueLimits,
    cache_mb: int,
    verify: bool,
    front_processes: int,
    log_level: str,
    log_format: str,
    log_to: logs.Stream,
    limits: Limits,
    model_arguments: ModelArguments,
    connections: ConnectionArguments,
    arguments: EdgeArguments,
    environment: Environment,
) -> None:
    """Serve one or more models over HTTP.

    Builds the engine directory of a TARGET first if there is none or it is out of date. With several models, `model` in
    a request selects one. Stops on SIGTERM or SIGINT.
    """
    logs.log_to(log_to, log_level, log_format)
    guard, tls = arguments.guard(environment), arguments.tls(environment)
    check_free(host, port)
    warn_if_open(host, guard)
    model_arguments.check(len(target), out)
    serving = Serving(
        targets=target,
        out=out,
        verify=verify,
        host=host,
        port=port,
        cache_bytes=cache_mb * MEGABYTE,
        engine_arguments=engine_arguments,
        model_arguments=model_arguments,
        queue_limits=queue_limits,
        limits=limits,
        connections=connections,
        edge_arguments=arguments,
        guard=guard,
        tls=tls,
        environment=environment,
    )
    if front_processes:
        sys.exit(run_in_processes(serving, front_processes))
    serving.run()
