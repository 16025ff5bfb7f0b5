"""All exceptions that openbei raises.

    OpenbeiError
    ├── ConfigError           config.yaml or environment: unknown key, wrong type, value out of range
    ├── CheckpointError       the checkpoint: missing file, missing or extra tensor, unknown architecture
    │   └── DownloadError     the checkpoint could not be downloaded
    ├── StoreError            an object store: access denied, missing object
    │   └── StoreUnreachableError
    ├── EngineDirError        the engine directory: missing, truncated, modified, another version
    ├── BackendError          not supported on this machine: no compiled module, unavailable instruction set, no GPU
    ├── InputError            invalid request
    │   ├── EmptyInputError   an empty list of texts
    │   └── WrongTaskError    the model does not support the task
    ├── EngineError           a batch failed in the engine
    │   └── EngineLostError   the engine can run no more batches
    ├── OverloadedError       the queue is full; has the time to retry after
    ├── DeadlineError         the request's deadline has passed
    └── UnavailableError      shutting down, or not started yet

A message states the problem, the value and the limit; `hint` is the remedy. `openbei.api` maps errors to HTTP status
codes.
"""

import collections.abc
import difflib


class OpenbeiError(Exception):
    """Base class. `str()` is the message, followed by the hint on its own line."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


def did_you_mean(word: str, known: collections.abc.Iterable[str]) -> str | None:
    """A hint if a word resembles a known one, else None. Dotted names are compared by their last part."""
    last = {name.rpartition(".")[2].lower(): name for name in known}
    close = difflib.get_close_matches(word.rpartition(".")[2].lower(), last, 1, cutoff=0.8)
    return f"did you mean {last[close[0]]}?" if close else None


class ConfigError(OpenbeiError):
    """An invalid config.yaml or environment variable."""


class CheckpointError(OpenbeiError):
    """A checkpoint that cannot be built."""


class DownloadError(CheckpointError):
    """A checkpoint that could not be downloaded."""


class StoreError(OpenbeiError):
    """An object store that cannot be read or written."""


class StoreUnreachableError(StoreError):
    """An object store that cannot be reached."""


class EngineDirError(OpenbeiError):
    """An engine directory that cannot be read or is corrupt."""


class BackendError(OpenbeiError):
    """A backend or instruction set that is not available on this machine."""


class InputError(OpenbeiError):
    """An invalid request; `param` is the invalid field."""

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class EmptyInputError(InputError):
    """A request without texts."""


class WrongTaskError(InputError):
    """A task that the served model does not support."""


class EngineError(OpenbeiError):
    """A batch failed in the engine; its requests can be retried."""


class EngineLostError(EngineError):
    """The engine can run no more batches; the process has to be restarted."""


class OverloadedError(OpenbeiError):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after_s: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DeadlineError(OpenbeiError):
    """The request's deadline has passed."""


class UnavailableError(OpenbeiError):
    """The server is shutting down or not ready."""
