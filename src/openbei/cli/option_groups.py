"""Decorators for groups of options."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

Option = Callable[[Any], Any]
"""The result of `click.option`."""

Command = Callable[..., None]


def add_options(command: Command, options: Sequence[Option]) -> Command:
    """Add options to a command, in the order of its help."""
    for option in reversed(options):
        command = option(command)
    return command


def add_grouped(command: Command, options: Sequence[Option], argument: str, kind: type) -> Command:
    """Add options and pass those that are fields of the dataclass `kind` to the command as one argument."""

    @functools.wraps(command)
    def gathered(**given: object) -> None:
        own: dict[str, Any] = {one.name: given.pop(one.name) for one in dataclasses.fields(kind) if one.name in given}
        command(**given, **{argument: kind(**own)})

    return add_options(gathered, options)
