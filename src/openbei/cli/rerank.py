"""`bei rerank`: the relevance of texts to queries, in this process, without a server."""

import click

from openbei.bulk import tasks
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.file_options import FileArguments, file_options, run_files
from openbei.cli.logs import log_to_stderr


@click.command
@file_options
@click.option("--query", help="Query for all texts.  [default: each row has its own]")
@click.option("--query-column", default="query", help="Column or JSON field with the queries, if --query is not given.")
@click.option("--instruction", help="Instruction instead of that of the model's score template.")
@click.option("--raw-scores", is_flag=True, help="Logits instead of probabilities.")
@engine_options
def command(
    files: FileArguments,
    instruction: str | None,
    raw_scores: bool,
    engine_arguments: EngineArguments,
) -> None:
    """Score the relevance of texts to queries, in the order of the texts.

    The texts are the arguments TEXT, those of a file, or those of standard input. The output has the columns of the
    input and the column `score`.
    """
    if files.text and files.query is None:
        raise click.UsageError("give --query for the texts of the command line")
    log_to_stderr("warning")
    source = files.open()
    with engine_arguments.open(files.target) as model:
        task = tasks.rerank(
            model, query=files.query, instruction=instruction, raw_scores=raw_scores, truncate=files.truncate
        )
        options = {"instruction": instruction, "raw_scores": raw_scores}
        run_files(model, task, source, files, options)
