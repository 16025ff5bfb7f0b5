"""Backends: interpreters of an engine directory. One file a backend; this table names them and how each is loaded."""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol, cast

from openbei.backends.threads import effective_threads
from openbei.backends.validation import check_engine
from openbei.batch import Engine
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError

__all__ = ["BACKENDS", "effective_threads", "load_engine"]

BACKENDS: dict[str, str] = {
    "native": "openbei.backends.native:load",
    "reference": "openbei.backends.reference:load",
}

_log = logging.getLogger(__name__)


class _Loader(Protocol):
    def __call__(self, engine_dir: EngineDir, *, isa: str | None, threads: int) -> Engine:
        """Load an engine; `isa` None lets the backend choose. Raises BackendError."""


def load_engine(
    engine_dir: EngineDir, *, backend: str | None = None, isa: str | None = None, threads: int | None = None
) -> Engine:
    """Load an engine directory into a backend; None chooses, and the log says what and why.

    Raises BackendError for a backend or an instruction set that is unknown or not offered here, EngineDirError for a
    manifest that its tensors do not fit.
    """
    check_engine(engine_dir)
    reason = "asked for"
    if backend is None:
        compiled = find_spec("openbei._native") is not None
        backend = "native" if compiled else "reference"
        reason = "the fastest here" if compiled else "slow: this installation has no compiled module"
    if backend not in BACKENDS:
        raise BackendError(f"there is no backend {backend!r}: {', '.join(BACKENDS)}")
    module, _, function = BACKENDS[backend].partition(":")
    load = cast(_Loader, getattr(import_module(module), function))
    engine = load(engine_dir, isa=isa, threads=effective_threads(threads))
    _log.log(logging.INFO if backend == "native" else logging.WARNING, "engine: %s (%s)", engine.description, reason)
    return engine
