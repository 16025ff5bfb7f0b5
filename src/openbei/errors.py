"""Every exception that openbei raises on purpose.

    OpenbeiError
    ├── ConfigError           config.yaml: unknown key, wrong type, value out of range
    ├── CheckpointError       the checkpoint folder: missing file, missing or extra tensor, unknown architecture
    │   └── DownloadError     a checkpoint could not be brought here
    ├── EngineDirError        an engine directory: absent, truncated, altered, of another version
    ├── BackendError          this machine cannot run it: no compiled module, instruction set not offered
    ├── InputError            what a client sent cannot be answered
    │   ├── EmptyInputError   a list without texts
    │   └── WrongTaskError    the model is not one for what was asked
    ├── EngineError           a batch failed inside the engine
    ├── OverloadedError       the queue is full; knows when to come back
    ├── DeadlineError         the client's own time limit passed
    └── UnavailableError      shutting down, or not started yet

A message says what, the value, and the limit; `hint` says what to do. HTTP codes are the business of `openbei.api`.
"""

import collections.abc
import difflib


class OpenbeiError(Exception):
    """Root of the tree. `str()` gives the message, and the hint on a line of its own."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


def did_you_mean(word: str, known: collections.abc.Iterable[str]) -> str | None:
    """A hint for a word that is almost a known one, or None; `a.b.c` is compared by its last part."""
    last = {name.rpartition(".")[2].lower(): name for name in known}
    close = difflib.get_close_matches(word.rpartition(".")[2].lower(), last, 1, cutoff=0.8)
    return f"did you mean {last[close[0]]}?" if close else None


class ConfigError(OpenbeiError):
    """A config.yaml that cannot be a deployment."""


class CheckpointError(OpenbeiError):
    """A checkpoint folder that cannot be built."""


class DownloadError(CheckpointError):
    """A checkpoint that could not be brought to this machine."""


class EngineDirError(OpenbeiError):
    """An engine directory that cannot be trusted or read."""


class BackendError(OpenbeiError):
    """A backend or instruction set that this machine does not offer."""


class InputError(OpenbeiError):
    """Input that cannot be answered; `param` names the request's field."""

    def __init__(self, message: str, *, param: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.param = param


class EmptyInputError(InputError):
    """A request with nothing in it."""


class WrongTaskError(InputError):
    """A task that the served model does not do."""


class EngineError(OpenbeiError):
    """A batch failed in the engine; its requests may be retried."""


class OverloadedError(OpenbeiError):
    """The queue is full."""

    def __init__(self, message: str, *, retry_after_s: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class DeadlineError(OpenbeiError):
    """The time that the client gave a request is over."""


class UnavailableError(OpenbeiError):
    """The server is shutting down or not ready."""
