"""`bei embed`: embed texts in this process, without a server."""

from typing import get_args

import click

from openbei.bulk import tasks
from openbei.bulk.inputs import OPENAI_BATCH
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.file_options import BLANK, FileArguments, file_options, run_files, run_with
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
    if files.input_format == OPENAI_BATCH:
        if dimensions or prompt_name or precision != "float32":
            raise click.UsageError("requests of a batch choose dimensions, precision and prompt themselves")
        _embed_batch(files, engine_arguments)
        return
    source = files.open()
    with engine_arguments.open(files.target) as model:
        prompt = model.prompts.find(prompt_name)
        task = tasks.embed(model, prompt=prompt, dimensions=dimensions, precision=precision, truncate=files.truncate)
        options = {"dimensions": dimensions, "precision": precision, "prompt": prompt}
        run_files(model, task, source, files, options)


def _embed_batch(files: FileArguments, engine_arguments: EngineArguments) -> None:
    """Answer the requests of an OpenAI batch file."""
    from openbei.bulk import openai_batch

    if files.source is None:
        raise click.UsageError("--input-format openai-batch needs --input")
    if files.column or files.keep is not None or files.prefix or files.blank != "fail":
        raise click.UsageError("a batch has no columns and no blank rows; omit --column, --keep, --prefix and --blank")
    if files.destination is not None and files.destination.suffix not in (".jsonl", ".ndjson"):
        raise click.UsageError("the responses to a batch are JSON lines; give --output a name that ends in .jsonl")
    source = openai_batch.Batch(files.source)
    with engine_arguments.open(files.target) as model:
        task = openai_batch.Task(model, truncate=files.truncate)
        run_with(model, task, source, openai_batch.Lines(source.name, source.columns, task.types), files, {})
