"""`bei convert`: write a checkpoint in another form, as a folder that openbei and other programs read."""

from pathlib import Path

import click

from openbei.cli import targets
from openbei.cli.logs import log_to_stderr


@click.group
def command() -> None:
    """Write a checkpoint in another form, which `bei build` and other programs read."""


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
    …ForSequenceClassification model: its labels are the answer words, its score layer their rows of lm_head.

    To serve such a reranker, `bei build --convert lm-head` is enough and writes the weights only once. Use this command
    to share the classifier with other programs, to keep it, or to choose other answer words.
    """
    from openbei.build.classifier_folder import convert_lm_head
    from openbei.cli.progress import Bar

    log_to_stderr("info")
    words = None if tokens is None else [word.strip() for word in tokens.split(",")]
    if words is not None and not all(words):
        raise click.BadParameter(f"{tokens!r} names an empty word", param_hint="--tokens")
    repository, environment = targets.deployment_of(checkpoint).repository, targets.read_environment(checkpoint)
    with Bar() as bar:
        made = convert_lm_head(repository, out, words, environment=environment, progress=bar.step)
    click.echo(f"{made.decision.decision}: {made.decision.reason}", err=True)
    click.echo(out)
