"""`bei convert`: a checkpoint in another form, as a folder for openbei and for others."""

from pathlib import Path

import click

from openbei.cli import targets
from openbei.cli.logs import log_to_stderr


@click.group
def command() -> None:
    """Write a checkpoint in another form. `bei build` reads what comes out, and so do other programs."""


@command.command("lm-head")
@click.argument("checkpoint")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--tokens",
    help="Words that become labels, separated by commas, the one that means yes last; each must be one token.  "
    "[default: those of LogitScore in modules.json; else no,yes for Qwen3 and 0,1 for Qwen2]",
)
def lm_head(checkpoint: str, out: Path, tokens: str | None) -> None:
    """Make a classifier of a reranker that answers with a word, such as a Qwen3-Reranker or mxbai-rerank-v2.

    CHECKPOINT is a folder or a model's id on the Hub, with an architecture …ForCausalLM. OUT becomes a folder with a
    …ForSequenceClassification, whose labels are the words and whose score has their rows of lm_head.

    To serve such a reranker `bei build --convert lm-head` is enough, and writes the weights once. Convert for other
    programs, to keep the classifier, or to name other words.
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
