"""`bei embed`: embed texts in this process, without a server."""

from typing import get_args

import click

from openbei.bulk import tasks
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.file_options import BLANK, FileArguments, file_options, run_files
from openbei.cli.logs import log_to_stderr


@click.command
@file_options
@BLANK
@click.option("--dimensions", type=click.IntRange(1), help="Truncate vectors to this many dimensions.  [default: all]")
@click.option(
    "--precision",
    default="float32",
    type=click.Choice(get_args(tasks.VectorPrecision)),
    help="Number format of the vectors; smaller ones save space and lose accuracy.",
)
@click.option(
    "--prompt-name", help="Prompt of the model, by name, to put before each text.  [default: the model's default]"
)
@engine_options
def command(
    files: FileArguments,
    dimensions: int | None,
    precision: tasks.VectorPrecision,
    prompt_name: str | None,
    engine_arguments: EngineArguments,
) -> None:
    """Embed texts, in order.

    The texts are the arguments TEXT, those of a file, or those of standard input. The output has the columns of the
    input and the column `embedding`.
    """
    log_to_stderr("warning")
    source = files.open()
    with engine_arguments.open(files.target) as model:
        prompt = model.prompts.find(prompt_name)
        task = tasks.embed(model, prompt=prompt, dimensions=dimensions, precision=precision, truncate=files.truncate)
        options = {"dimensions": dimensions, "precision": precision, "prompt": prompt}
        run_files(model, task, source, files, options)
