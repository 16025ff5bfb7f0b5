"""`bei sparse`: the term weights of texts, in this process, without a server."""

import click

from openbei.bulk import tasks
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.file_options import BLANK, FileArguments, file_options, run_files
from openbei.cli.logs import log_to_stderr


@click.command
@file_options
@BLANK
@click.option(
    "--prompt-name", help="Prompt of the model, by name, to put before each text.  [default: the model's default]"
)
@engine_options
def command(files: FileArguments, prompt_name: str | None, engine_arguments: EngineArguments) -> None:
    """Compute sparse embeddings of texts, in order.

    The texts are the arguments TEXT, those of a file, or those of standard input. The output has the columns of the
    input, and the columns `indices` (token ids) and `values` (weights).
    """
    log_to_stderr("warning")
    source = files.open()
    with engine_arguments.open(files.target) as model:
        prompt = model.prompts.find(prompt_name)
        task = tasks.sparse(model, prompt=prompt, truncate=files.truncate)
        run_files(model, task, source, files, {"prompt": prompt})
