"""A progress bar on standard error, if that is a terminal."""

import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Any

UNITS = {"fetch": "bytes", "push": "bytes", "write": "bytes", "embed": "texts"}
"""Step → unit. Other steps are not shown; a download from the Hub has its own progress bars."""


class Bar:
    """Shows one step at a time; rich is imported only if it is shown."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Bar":
        return self

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = self._stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def step(self, name: str, done: int, total: int | None) -> None:
        """Update a step to `done` of `total`; None is unknown."""
        if name not in UNITS or not sys.stderr.isatty():
            return
        if self._bar is None:
            self._begin()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(f"{name} {UNITS[name]}", total=total)
        self._bar.update(self._tasks[name], completed=done, total=total)
