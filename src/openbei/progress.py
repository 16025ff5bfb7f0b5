"""A progress bar on standard error, by default if that is a terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any

UNITS = {
    "fetch": "bytes",
    "push": "bytes",
    "write": "bytes",
    "compile": "batches",
    "embed": "texts",
    "score": "pairs",
    "classify": "texts",
}
"""Step → unit. Other steps are not shown; a download from the Hub has its own progress bars."""


Watch = bool | Callable[[int], None] | None
"""Whether to show a bar (None: on a terminal), or a function to call instead, with the number of items done."""


class Rate:
    """The speed of a step that continues after `first` items, which were done before."""

    def __init__(self, first: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._first, self._clock, self._start = first, clock, clock()

    def per_s(self, done: int) -> float:
        """Items per second."""
        return (done - self._first) / max(self._clock() - self._start, 1e-9)

    def line(self, done: int, total: int | None, unit: str) -> str:
        """Progress for a log: `4,096 of 20,000 rows, 512 rows/s, 0:00:31 left`."""
        rate = self.per_s(done)
        of_total = "" if total is None else f" of {total:,}"
        left = f", {timedelta(seconds=round((total - done) / rate))} left" if total is not None and rate > 0 else ""
        return f"{done:,}{of_total} {unit}, {rate:,.0f} {unit}/s{left}"


class Bar:
    """Shows one step at a time; rich is imported only if it is shown. `is_shown` None shows it on a terminal."""

    def __init__(self, is_shown: bool | None = None) -> None:
        self._is_shown = is_shown
        self._stack = ExitStack()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}
        self._rates: dict[str, Rate] = {}

    def __enter__(self) -> "Bar":
        return self

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, force_terminal=self._is_shown)
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
        self._bar = self._stack.enter_context(Progress(*columns, console=console, transient=True))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def step(self, name: str, done: int, total: int | None) -> None:
        """Update a step to `done` of `total`; None is unknown. A step that is done at once is not shown."""
        is_shown = sys.stderr.isatty() if self._is_shown is None else self._is_shown
        if name not in UNITS or not is_shown or (name not in self._tasks and done == total):
            return
        if self._bar is None:
            self._begin()
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(f"{name} {UNITS[name]}", total=total, completed=done, rate="")
            self._rates[name] = Rate(done)
        self._bar.update(self._tasks[name], completed=done, total=total, rate=f"{self._rates[name].per_s(done):,.0f}/s")


@contextmanager
def watch(step: str, items: Iterable[object], progress: Watch) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of items done since its last call, which updates the bar of a step."""
    if callable(progress):
        yield progress
        return
    total = len(items) if isinstance(items, Sized) else None
    num_done = 0
    with Bar(progress) as bar:

        def advance(count: int) -> None:
            nonlocal num_done
            num_done += count
            bar.step(step, num_done, total)

        yield advance
