"""Rust panics as exceptions: PyO3's PanicException is not an Exception, so ordinary handlers do not catch it."""

from contextlib import ContextDecorator
from types import TracebackType

from openbei.errors import OpenbeiError


class PanicsAs(ContextDecorator):
    """The context manager of `panics_as`. A class: every request enters it, and a generator would be slower."""

    def __init__(self, kind: type[OpenbeiError], what: str) -> None:
        self._kind = kind
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and kind.__module__ == "pyo3_runtime":
            raise self._kind(f"{self._what}: the tokenizers library failed: {error}") from error


def panics_as(kind: type[OpenbeiError], what: str) -> PanicsAs:
    """Convert a panic to an error of the given class, whose message starts with `what`. Also a decorator."""
    return PanicsAs(kind, what)
