"""`bei entities`: the named entities of texts, in this process, without a server."""

from typing import get_args

import click

from openbei.bulk import tasks
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.file_options import BLANK, FileArguments, file_options, run_files
from openbei.cli.logs import log_to_stderr
from openbei.tasks.tokens import Strategy


@click.command
@file_options
@BLANK
@click.option(
    "--aggregation",
    default="simple",
    type=click.Choice(get_args(Strategy)),
    help="How tokens become entities; with none, each token is one.",
)
@engine_options
def command(files: FileArguments, aggregation: Strategy, engine_arguments: EngineArguments) -> None:
    """Find named entities in texts.

    The texts are the arguments TEXT, those of a file, or those of standard input. The output has the columns of the
    input and the column `entities`: a list with the text, label, score, start and end of each.
    """
    log_to_stderr("warning")
    source = files.open()
    with engine_arguments.open(files.target) as model:
        task = tasks.find_entities(model, aggregation=aggregation, truncate=files.truncate)
        run_files(model, task, source, files, {"aggregation": aggregation})
