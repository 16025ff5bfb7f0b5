"""A request of the scheduler, and its answer."""

import asyncio
import math
import time
from dataclasses import dataclass, field

from openbei.batch import Rows
from openbei.serving.packing import QueuedRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a request: the rows of all sequences, in order, and the times in queue and engine, in seconds."""

    rows: Rows
    queue_s: float
    inference_s: float


@dataclass(slots=True, eq=False)
class Request(QueuedRequest):
    """A queued or running request: its finished rows, and the future of its answer."""

    future: "asyncio.Future[Answer]" = field(kw_only=True)
    arrival_s: float = field(default_factory=time.monotonic)
    parts: list[Rows] = field(default_factory=list)
    num_done: int = 0
    num_tokens_left: int = 0
    started_s: float = math.inf
