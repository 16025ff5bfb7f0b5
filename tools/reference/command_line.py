"""The commands of docs/cli.md: usage, what each does, and its options with defaults and environment variables."""

import inspect
import re
from collections.abc import Iterator

import click

from openbei.cli import COMMANDS, main
from tools.reference.markdown import code, table

ADDED = re.compile(r"\s*\[(default|env): ([^\]]*)\]")
"""What help strings say for the terminal; the table has columns for it."""


def commands() -> str:
    """A section per command and subcommand."""
    top = click.Context(main, info_name="bei")
    return "\n\n".join(
        section
        for name in COMMANDS
        if (command := main.get_command(top, name))
        for section in _sections(command, click.Context(command, top, info_name=name))
    )


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"### {context.command_path}", f"```text\n{usage}\n```", _text(command)]
    rows = [_row(parameter) for parameter in command.params if isinstance(parameter, click.Option)]
    if rows:
        parts.append(table(("option", "meaning", "default", "environment variables"), rows))
    yield "\n\n".join(parts)
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _sections(inner, click.Context(inner, context, info_name=name))


def _text(command: click.Command) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _row(option: click.Option) -> tuple[str, str, str, str]:
    help_text = option.help or ""
    stated = dict(ADDED.findall(help_text))
    return (
        _spelled(option),
        ADDED.sub("", help_text),
        stated.get("default") or _default(option),
        ", ".join(map(code, stated["env"].split(", "))) if "env" in stated else "",
    )


def _spelled(option: click.Option) -> str:
    if option.is_flag:
        return " / ".join(map(code, (*option.opts, *option.secondary_opts)))
    if isinstance(option.type, click.Choice):
        return code(f"{option.opts[0]} {'|'.join(option.type.choices)}")
    return code(f"{option.opts[0]} {option.type.name.split()[0].upper()}")


def _default(option: click.Option) -> str:
    value = option.default
    if isinstance(value, bool):
        return code(option.opts[0]) if value else ""
    return (
        code(f"{value:g}" if isinstance(value, float) else str(value)) if isinstance(value, str | int | float) else ""
    )
