"""The command `bei`: the table of its commands, which are imported when used, and the output of errors."""

import functools
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from openbei import errors

COMMANDS = {
    "check": "check",
    "build": "build",
    "push": "push",
    "serve": "serve",
    "embed": "embed",
    "rerank": "rerank",
    "classify": "classify",
    "entities": "entities",
    "sparse": "sparse",
    "info": "info",
    "bench": "bench",
    "compare": "compare",
}
"""Command → module of this package that defines it as `command`."""


class Commands(click.Group):
    """The commands of the table. Only the one that runs is imported, so that a server starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name]}").command
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run the command line. Usage errors are printed like all other errors."""
        run = functools.partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        try:
            code: Any = run()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.ClickException as error:
            _fail(*_reworded(error), error.exit_code)
        except click.Abort:
            _fail("interrupted", None, 130)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. OpenbeiError and OSError are printed without a traceback and set the exit code."""
        try:
            return super().invoke(ctx)
        except errors.OpenbeiError as error:
            _fail(error.message, error.hint, 2 if isinstance(error, errors.ConfigError) else 1)
        except BrokenPipeError:
            raise  # click exits silently if the reader of a pipe is closed
        except OSError as error:
            _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), None, 1)


def _fail(message: str, hint: str | None, code: int) -> NoReturn:
    """Print an error and its hint, and exit."""
    click.echo(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), err=True)
    sys.exit(code)


def _reworded(error: click.ClickException) -> tuple[str, str | None]:
    """Message and hint for a usage error of click."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context else None
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option {error.option_name}"
        hint = errors.did_you_mean(error.option_name, error.possibilities or ()) or hint
    elif isinstance(error, click.UsageError) and message.startswith("No such command"):
        name = message.split("'")[1]
        message, hint = f"there is no command {name}", errors.did_you_mean(name, COMMANDS) or hint
    return message[:1].lower() + message[1:].rstrip("."), hint


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="openbei", message="openbei %(version)s")
def main() -> None:
    """Build and serve embedding models.

    A TARGET is an engine directory (a folder with engine.json), a config.yaml, a folder with a Hugging Face checkpoint,
    a model id on the Hugging Face Hub, or the URL of an engine directory (s3://, gs://, azure://, hf://) or of a
    checkpoint (s3://, gs://, azure://, or https:// for a tar.gz).
    """
