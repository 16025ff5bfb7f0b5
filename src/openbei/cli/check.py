"""`bei check`: what a config.yaml does here, and what Baseten would refuse."""

import sys
from pathlib import Path

import click

from openbei import targets
from openbei.config import Decision, Deployment, Environment, load_config
from openbei.errors import ConfigError
from openbei.locations import public_url
from openbei.secrets import DEFAULT_NAME
from openbei.yaml_file import read_yaml

Row = tuple[str, str]


@click.command
@click.argument("config", type=click.Path(path_type=Path))
def command(config: Path) -> None:
    """Check a config.yaml.

    Shows what `bei` does with each setting, which keys have no effect and why, and what `truss push` would refuse.
    Nothing is downloaded. The exit status is 1 if anything is refused.
    """
    from openbei.truss_check import TRUSS_VERSION, problems

    raw = read_yaml(config)
    refused_by_truss = list(problems(raw))
    refused_here: list[Row] = []
    try:
        deployment = load_config(config)
        environment = targets.read_environment(str(config))
    except ConfigError as error:
        refused_here = [(error.message, f"hint: {error.hint}" if error.hint else "")]
    else:
        _print("effect", _effects(deployment, environment))
        without = [note for note in deployment.notes if note.decision == "no effect"]
        _print("no effect", [(note.subject, note.reason) for note in without])
    _print("refused by bei", refused_here)
    _print(f"refused by Baseten (truss {TRUSS_VERSION})", refused_by_truss)
    if refused_here or refused_by_truss:
        sys.exit(1)
    click.echo("nothing is refused")


def _effects(deployment: Deployment, environment: Environment) -> list[Row]:
    repository = deployment.repository
    revision = f", revision {repository.revision}" if repository.revision else ""
    route = deployment.default_route or "that of the model's task"
    rows = [
        ("quantization_type", deployment.quantization),
        ("model_name", deployment.model_name),
        ("trt_llm.build.base_model", str(deployment.base_model)),
        ("checkpoint_repository", f"{repository.source} {public_url(repository.repo)}{revision}"),
        ("runtime_secret_name", _about_secret(repository.runtime_secret_name, environment)),
        ("webserver_default_route", route),
    ]
    if deployment.max_seq_len is not None:
        rows.append(("trt_llm.build.max_seq_len", f"{deployment.max_seq_len}, for sequence classifiers and rerankers"))
    for name in ("convert", "answer_tokens", "route", "pooling"):
        if (value := getattr(deployment, name)) is not None:
            rows.append((name, value))
    return rows + [_row(note) for note in deployment.notes if note.decision != "no effect"]


def _row(note: Decision) -> Row:
    return note.subject, f"{note.decision}  ({note.reason})"


def _about_secret(name: str, environment: Environment) -> str:
    """Whether the secret was found; its value is not shown."""
    if environment.secrets.find(name) is not None:
        return f"{name}, which was found"
    if name == DEFAULT_NAME:
        return f"{name}, which was not found"
    return f"{name}, which was not found: set {environment.secrets.places(name).replace(' and ', ' or ')}"


def _print(title: str, rows: list[Row]) -> None:
    if not rows:
        return
    width = max(len(name) for name, _ in rows) if len(rows) > 1 else 0
    lines = (f"  {name:{width}}  {text}".rstrip() for name, text in rows)
    click.echo("\n".join([title, *lines, ""]))
