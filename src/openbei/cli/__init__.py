"""The command `bei`: the table of its commands, and how an error is told. A command is a file, loaded when used."""

import importlib
import sys

import click

from openbei import errors

COMMANDS = {
    "build": "build",
    "convert": "convert",
    "serve": "serve",
    "embed": "embed",
    "info": "info",
    "bench": "bench",
}
"""Command → module of this package that has it as `command`."""


class Commands(click.Group):
    """The commands of the table, imported one at a time so that a server starts without what only a build needs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{COMMANDS[cmd_name]}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; our errors and the operating system's become a message and an exit code, without traceback."""
        try:
            return super().invoke(ctx)
        except errors.OpenbeiError as error:
            message, code = str(error), 2 if isinstance(error, errors.ConfigError) else 1
        except BrokenPipeError:
            raise  # click ends quietly when the reader of a pipe has gone
        except OSError as error:
            message, code = f"{error.filename}: {error.strerror}" if error.filename else str(error), 1
        click.echo(f"error: {message}", err=True)
        sys.exit(code)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="openbei", message="openbei %(version)s")
def main() -> None:
    """Build and serve embedding models.

    A TARGET is an engine directory (it holds engine.json), a config.yaml, a folder with a Hugging Face checkpoint,
    or the id of a model on the Hub.
    """
