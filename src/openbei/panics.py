"""Rust panics as exceptions: PyO3's PanicException is not an Exception, so ordinary handlers do not catch it."""

import contextlib
from collections.abc import Iterator

from openbei.errors import OpenbeiError


@contextlib.contextmanager
def panics_as(kind: type[OpenbeiError], what: str) -> Iterator[None]:
    """Convert a panic to an error of the given class, whose message starts with `what`. Also a decorator."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise kind(f"{what}: the tokenizers library failed: {error}") from error
