"""One engine of a model, and the thread that runs its batches."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, NamedTuple

from openbei.batch import Engine, EngineInfo, Rows
from openbei.errors import EngineLostError
from openbei.serving.handover import Handover
from openbei.serving.packing import Batch, R
from openbei.serving.started_batch import StartedBatch, start_batch
from openbei.serving.turns import Turn


class Result(NamedTuple, Generic[R]):
    """A batch, its rows or the exception, when it started, and the seconds that the engine took for it."""

    batch: Batch[R]
    rows: Rows | BaseException
    start_s: float
    seconds: float


class Replica(Generic[R]):
    """An engine and its thread, which alone calls the engine.

    The thread calls `receive` with each result, and `ended` before it ends. A replica that was taken out of service
    starts no more batches.
    """

    def __init__(
        self,
        engine: Engine,
        turn: Turn,
        handover: Handover[R],
        *,
        receive: Callable[["Replica[R]", Result[R]], None],
        ended: Callable[["Replica[R]"], None],
    ) -> None:
        self._engine, self._turn, self._handover = engine, turn, handover
        self._receive, self._ended = receive, ended
        self._batches: list[Batch[R]] = []  # started, and their results not yet processed
        self._is_out = self._is_running = False
        self._lock = threading.Lock()  # guards _batches and _is_out
        self._batch_start_s = math.inf
        self._in_flight: deque[StartedBatch[R]] = deque()
        # Freeing the memory of a lost GPU may end the process, so references to it are kept.
        self._lost: tuple[StartedBatch[R], BaseException] | None = None
        # A daemon thread does not keep the process alive if the engine hangs.
        self._thread = threading.Thread(target=self._run, name=f"engine {engine.info.place}", daemon=True)

    @property
    def info(self) -> EngineInfo:
        """The description of the engine."""
        return self._engine.info

    @property
    def is_out(self) -> bool:
        """Whether it was taken out of service."""
        return self._is_out

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive, though the engine may hang."""
        return self._is_running

    def is_hung(self, timeout_s: float) -> bool:
        """Whether a batch has been running for longer than `timeout_s`. The engine cannot be stopped then."""
        return time.monotonic() - self._batch_start_s > timeout_s

    def start(self) -> None:
        """Start the thread."""
        self._is_running = True
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        self._thread.join(timeout_s)

    def done(self, batch: Batch[R]) -> bool:
        """Remove a finished batch. Returns whether its result counts: not if the replica is out of service."""
        with self._lock:
            if self._is_out:
                return False
            self._batches.remove(batch)
            return True

    def take_out(self) -> list[Batch[R]]:
        """Start no more batches. Returns the unfinished ones, whose results no longer count."""
        with self._lock:
            self._is_out = True
            batches, self._batches = self._batches, []
            return batches

    def _begin(self, batch: Batch[R]) -> bool:
        """Add a batch to the unfinished ones, or hand it back if the replica was taken out of service."""
        with self._lock:
            if not self._is_out:
                self._batches.append(batch)
                return True
        self._handover.retry(batch)
        return False

    def _run(self) -> None:
        """Run batches until the scheduler stops or the replica is taken out of service."""
        end_s = -math.inf
        try:
            while not self._is_out:
                self._start_batches()
                if not self._in_flight:
                    return
                started = self._in_flight[0]
                result = started.result()
                begin_s, end_s = max(started.start_s, end_s), time.monotonic()
                self._in_flight.popleft()
                self._batch_start_s = end_s if self._in_flight else math.inf
                self._turn.give_back(end_s - begin_s)
                self._handover.expect_fill()  # the receiver fills
                self._receive(self, Result(started.batch, result, started.start_s, end_s - begin_s))
                if isinstance(result, EngineLostError):
                    self._lost = started, result
                    return
        finally:
            self._is_running = False
            self._batch_start_s = math.inf
            for _ in self._in_flight:
                self._turn.give_back(0)
            self._ended(self)

    def _wake(self) -> None:
        with suppress(Exception):  # the batch that follows reports it
            self._engine.wake()

    def _start_batches(self) -> None:
        """Start as many batches as the engine may have in flight."""
        while len(self._in_flight) < self._engine.max_in_flight:
            batch = self._handover.take(self._turn, self._wake, is_idle=not self._in_flight)
            if batch is None:
                return
            if not self._begin(batch):
                self._turn.give_back(0)
                return
            self._batch_start_s = min(self._batch_start_s, time.monotonic())
            self._in_flight.append(start_batch(self._engine, batch))
