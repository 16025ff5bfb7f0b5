"""`bei serve`: the composition root of the server, which creates and connects its parts."""

import logging
from contextlib import ExitStack
from pathlib import Path

import click

from openbei import targets
from openbei.api.app import create_app
from openbei.api.limits import Limits
from openbei.api.server import serve
from openbei.cli import logs
from openbei.cli.connection_options import ConnectionArguments, connection_options
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.from_environment import options_from_environment
from openbei.cli.listening import check_free
from openbei.cli.queue_options import queue_options
from openbei.cli.request_options import request_options
from openbei.cli.served_model import ModelArguments, model_options, require_key
from openbei.cli.serving_options import EdgeArguments, edge_options, warn_if_open
from openbei.config import Environment
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.served_model import schedule
from openbei.serving.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

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
    edge, tls = arguments.edge(environment), arguments.tls(environment)
    check_free(host, port)
    warn_if_open(host, edge.guard)
    model_arguments.check(len(target), out)
    device, backend = engine_arguments.device, engine_arguments.backend
    targets.preload(environment, device=device, backend=backend)
    engine_dirs = [
        targets.engine_dir_of(one, environment, out, verify=verify, device=device, backend=backend) for one in target
    ]
    require_key([engine_dir.manifest for engine_dir in engine_dirs], edge.guard)
    _log.info("hashes of engine directories: %s", "checked" if verify else "not checked (--no-verify)")
    metrics = Metrics()
    with ExitStack() as stack:
        models = []
        for index, engine_dir in enumerate(engine_dirs):
            manifest = engine_dir.manifest
            name, prompts = model_arguments.name(index), model_arguments.prompts(manifest.prompts)
            _log.info("model: %s, %s, %s", name or manifest.model_name, manifest.spec.family, manifest.spec.task)
            engines, tokenizer = engine_arguments.load(engine_dir, environment), Tokenizer.open(engine_dir)
            model = LoadedModel(manifest, tokenizer, *engines, name=name, prompts=prompts)
            models.append(stack.enter_context(model))
        served = schedule(models, queue_limits, metrics, cache_bytes=cache_mb * MEGABYTE)
        app = create_app(
            served, metrics=metrics, limits=limits, edge=edge, shutdown_deadline_s=connections.shutdown_timeout_s
        )
        serve(connections.server(app, [one.scheduler for one in served], host=host, port=port, tls=tls))
