"""`bei build`: a config and its checkpoint into an engine directory."""

from pathlib import Path
from typing import get_args

import click

from openbei.cli import targets
from openbei.cli.logs import log_to_stderr
from openbei.config import Conversion, PoolingChoice
from openbei.engine_dir import is_engine_dir
from openbei.errors import ConfigError


@click.command
@click.argument("config")
@click.option("--out", type=click.Path(path_type=Path), help="Engine directory to write.  [default: one in the cache]")
@click.option("--force", is_flag=True, help="Build even if the engine directory is up to date.")
@click.option(
    "--convert",
    type=click.Choice(get_args(Conversion)),
    help="Make a classifier of a reranker that answers with a word (Qwen3-Reranker and mxbai-rerank-v2 as published), "
    "from the rows of its lm_head for the words. Not needed where modules.json has a LogitScore. The config's "
    "key is environment_variables.CONVERT.",
)
@click.option(
    "--route",
    help="Of a model with a Router, the route to build, such as query. The config's key is environment_variables.ROUTE."
    "  [default: the Router's default]",
)
@click.option(
    "--pooling",
    type=click.Choice(get_args(PoolingChoice)),
    help="How to pool a checkpoint without modules.json: the way it was trained for, splade for a sparse model. The "
    "config's key is environment_variables.POOLING.",
)
def command(
    config: str,
    out: Path | None,
    force: bool,
    convert: Conversion | None,
    route: str | None,
    pooling: PoolingChoice | None,
) -> None:
    """Build the engine directory of CONFIG: a config.yaml, a folder with a checkpoint, or a model's id on the Hub.

    What was decided goes to standard error, the engine directory's path to standard output.
    """
    if is_engine_dir(Path(config)):
        raise ConfigError(f"{config} is an engine directory already", hint="build from its config.yaml or checkpoint")
    log_to_stderr("info")
    opened = targets.engine_dir_of(
        config, targets.read_environment(config), out, force=force, convert=convert, route=route, pooling=pooling
    )
    click.echo(opened.path)
