"""A request of the scheduler, and its answer."""

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from openbei.batch import Rows
from openbei.errors import EngineError, OpenbeiError, UnavailableError
from openbei.serving.packing import QueuedRequest


class Answer(NamedTuple):
    """The result of a request: the rows of all sequences, in order, and the times in queue and engine, in seconds."""

    rows: Rows
    queue_s: float
    inference_s: float


class PendingAnswer(Protocol):
    """The part of a future that the scheduler uses."""

    def done(self) -> bool:
        """Whether it is answered, failed or cancelled."""
        ...

    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        ...

    def set_result(self, result: Answer, /) -> None:
        """Deliver the answer."""
        ...

    def set_exception(self, exception: BaseException, /) -> None:
        """Deliver the failure."""
        ...


@dataclass(slots=True, eq=False)
class Request(QueuedRequest):
    """A queued or running request: its finished rows by their first sequence, and where its answer goes."""

    answer: PendingAnswer = field(kw_only=True)
    arrival_s: float = field(default_factory=time.monotonic)
    parts: dict[int, Rows] = field(default_factory=dict)
    num_done: int = 0
    num_tokens_left: int = 0
    started_s: float = math.inf


def failure(error: BaseException) -> OpenbeiError:
    """A separate exception for each request, because raising an exception extends its traceback."""
    if isinstance(error, UnavailableError):
        return UnavailableError(error.message)
    failure = EngineError(f"the batch failed in the engine: {type(error).__name__}", hint="send it again")
    failure.__cause__ = error
    return failure
