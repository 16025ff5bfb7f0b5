"""The command `bei` in this process, which is much faster than a process of its own."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from openbei.cli import main


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


Invoke = Callable[..., Done]


@contextmanager
def invoking(cache: Path) -> Iterator[Invoke]:
    """A function that runs a command; standard input is empty unless given."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: object, stdin: str | bytes = "") -> Done:
        environment = {"XDG_CACHE_HOME": str(cache), "HF_HUB_OFFLINE": "1"}
        result = CliRunner(env=environment).invoke(main, [*map(str, arguments)], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    yield run
    root.handlers, root.level = handlers, level
