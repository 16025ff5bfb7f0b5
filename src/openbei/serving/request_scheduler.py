"""The part of a scheduler that the server uses, whether the engines run in this process or in another one."""

import asyncio
from typing import Protocol

from openbei.batch import EngineInfo, Output, Sequence
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.request import Answer


class RequestScheduler(Protocol):
    """Runs the requests to one model. `Scheduler` documents the members."""

    @property
    def engine_infos(self) -> list[EngineInfo]:
        """The descriptions of all engines, including those out of service."""
        ...

    @property
    def num_working(self) -> int:
        """The number of engines in service."""
        ...

    @property
    def limits(self) -> QueueLimits:
        """The limits of the queue."""
        ...

    @property
    def is_healthy(self) -> bool:
        """Whether requests are accepted, and an engine runs."""
        ...

    @property
    def has_lost_engine(self) -> bool:
        """Whether no engine is left that can run batches."""
        ...

    @property
    def tokenizes_on_loop(self) -> bool:
        """Whether short texts should be tokenized on the event loop now, instead of in a thread."""
        ...

    @property
    def is_draining(self) -> bool:
        """Whether shutdown is announced."""
        ...

    @property
    def is_hung(self) -> bool:
        """Whether every engine in service hangs."""
        ...

    @property
    def has_taken_out(self) -> bool:
        """Whether an engine was taken out of service."""
        ...

    @property
    def seconds_since_success(self) -> float:
        """Seconds since the last successful batch; infinite before the first."""
        ...

    def start(self) -> None:
        """Start to accept requests. Must be called once, on the running event loop."""
        ...

    def take_out_hung(self) -> None:
        """Take engines that hang out of service, except the last one."""
        ...

    def expect(self) -> None:
        """Wake the engine's threads if they sleep, because a request is about to be submitted."""
        ...

    def submit(self, sequences: list[Sequence], output: Output = "pooled") -> "asyncio.Future[Answer]":
        """Queue a request and return the future of its answer, which can be cancelled."""
        ...

    def check_room(self) -> None:
        """Raise UnavailableError or OverloadedError if a request would not be queued now."""
        ...

    def drain(self) -> None:
        """Announce shutdown."""
        ...

    async def close(self, deadline_s: float) -> None:
        """Refuse new requests and finish those already queued. After `deadline_s` seconds, the others fail."""
        ...
