"""Defaults of options from variables of the process, or else of a config."""

import functools
from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from openbei import targets, variables
from openbei.errors import ConfigError
from openbei.variables import Variable


def options_from_environment(command: Callable[..., None]) -> Callable[..., None]:
    """Set options that are not given from variables, pass `environment` to the command, and add variables to its help.

    The command must have an argument `target`, one or more TARGETs. Must be applied after the decorators that add
    options.
    """

    @functools.wraps(command)
    def filled(**options: Any) -> None:  # noqa: ANN401
        context = click.get_current_context()
        environment = targets.read_environment(*options["target"])
        for option in context.command.params:
            name, variable = option.name or "", environment.options.get(option.opts[0])
            if variable and context.get_parameter_source(name) is ParameterSource.DEFAULT:
                options[name] = _converted(option, variable, context)
        command(**options, environment=environment)

    for option in getattr(filled, "__click_params__", ()):
        if not isinstance(option, click.Option) or "[env: " in (option.help or ""):
            continue
        if known := variables.OPTIONS.get(option.opts[0]):
            option.help = f"{option.help}  [env: {', '.join(known)}]"
    return filled


def _converted(option: click.Parameter, variable: Variable, context: click.Context) -> object:
    """Convert the variable to a value of the option. Raises ConfigError."""
    aliases = variables.VALUE_ALIASES.get(variable.name, {})
    value = aliases.get(variable.value.lower(), variable.value)
    parts = [part.strip() for part in value.split(",") if part.strip()] if option.multiple else [value]
    try:
        values = tuple(option.type.convert(part, option, context) for part in parts)
    except click.BadParameter as error:
        problem = error.message.rstrip(".")
        raise ConfigError(
            f"{variable.source} is {variable.value!r}: {problem}", hint=f"it sets {option.opts[0]}"
        ) from error
    return values if option.multiple else values[0]
