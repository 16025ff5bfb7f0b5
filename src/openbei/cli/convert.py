"""`bei convert`: convert a checkpoint to another one, which openbei and other programs can load."""

from pathlib import Path

import click

from openbei import targets
from openbei.cli.logs import log_to_stderr


@click.group
def command() -> None:
    """Convert a checkpoint to another one, which `bei build` and other programs can load."""


@command.command("lm-head")
@click.argument("checkpoint")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--tokens",
    help="Answer words to use as labels, comma-separated, with the positive one last; each must be a single token.  "
    "[default: those of LogitScore in modules.json, else no,yes for Qwen3 and 0,1 for Qwen2]",
)
def lm_head(checkpoint: str, out: Path, tokens: str | None) -> None:
    """Convert a generative reranker, such as Qwen3-Reranker or mxbai-rerank-v2, into a classifier.

    CHECKPOINT is a folder or a model id on the Hub with a …ForCausalLM architecture. OUT becomes a folder with a
    …ForSequenceClassification model: its labels are the answer tokens, and its score layer has their rows of lm_head.

    To serve such a reranker, `bei build --convert lm-head` is enough and writes the weights only once. Use this command
    to share the classifier with other programs, to keep it, or to choose other answer tokens.
    """
    from openbei.build.classifier_folder import convert_lm_head
    from openbei.progress import Bar

    log_to_stderr("info")
    labels = None if tokens is None else [token.strip() for token in tokens.split(",")]
    if labels is not None and not all(labels):
        raise click.BadParameter(f"{tokens!r} has an empty token", param_hint="--tokens")
    repository, environment = targets.deployment_of(checkpoint).repository, targets.read_environment(checkpoint)
    with Bar() as bar:
        answer_tokens = convert_lm_head(repository, out, labels, environment=environment, progress=bar.step)
    decision = answer_tokens.decision
    click.echo(f"{decision.decision}: {decision.reason}", err=True)
    click.echo(out)
