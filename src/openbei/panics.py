"""Panics of libraries written in Rust: to Python they are no Exception, and nothing that catches errors sees them."""

import contextlib
from collections.abc import Iterator

from openbei.errors import OpenbeiError


@contextlib.contextmanager
def panics_as(kind: type[OpenbeiError], what: str) -> Iterator[None]:
    """Make a panic an error of a kind, whose message begins with `what`; also a decorator. All else passes."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise kind(f"{what}: the tokenizers library failed: {error}") from error
