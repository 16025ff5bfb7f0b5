"""`bei classify`: the labels of texts, in this process, without a server."""

import click

from openbei.bulk import tasks
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.file_options import BLANK, FileArguments, file_options, run_files
from openbei.cli.logs import log_to_stderr


@click.command
@file_options
@BLANK
@click.option("--all-labels", is_flag=True, help="Add the column `scores`, with the scores of all labels.")
@click.option("--raw-scores", is_flag=True, help="Logits instead of probabilities.")
@engine_options
def command(files: FileArguments, all_labels: bool, raw_scores: bool, engine_arguments: EngineArguments) -> None:
    """Classify texts, in order.

    The texts are the arguments TEXT, those of a file, or those of standard input. The output has the columns of the
    input, and the columns `label` and `score` of the best label.
    """
    log_to_stderr("warning")
    source = files.open()
    with engine_arguments.open(files.target) as model:
        task = tasks.classify(model, all_labels=all_labels, raw_scores=raw_scores, truncate=files.truncate)
        run_files(model, task, source, files, {"all_labels": all_labels, "raw_scores": raw_scores})
