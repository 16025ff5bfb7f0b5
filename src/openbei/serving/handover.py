"""The batches that wait for an engine. The event loop fills the next one, and the threads of the engines take it."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic

from openbei.serving.packing import Batch, FairQueue, R
from openbei.serving.turns import Turn


class Handover(Generic[R]):
    """One prefetched batch, and the batches of lost engines, which are taken first. All engines of a model share it.

    Threads of engines call `request_fill`, which makes the event loop call `fill`.
    """

    def __init__(self, request_fill: Callable[[], None]) -> None:
        self._request_fill = request_fill
        self._next: Batch[R] = Batch()
        self._retries: deque[Batch[R]] = deque()
        self._num_idle = self._num_busy = 0  # idle and busy engines that wait
        self._has_queued = False
        self._is_filling = False
        self._is_expecting = False
        self._is_stopping = False
        self._changed = threading.Condition()

    def fill(self, queue: FairQueue[R]) -> None:
        """Fill the batch that is taken next."""
        with self._changed:
            queue.fill(self._next)
            self._has_queued = len(queue) > 0
            self._is_filling = False
            # Idle engines wait for a batch; waking them without one would take the GIL for nothing.
            if self._has_batch or self._num_busy:
                self._changed.notify_all()

    def expect_fill(self) -> None:
        """Announce that `fill` is about to be called, so that busy engines wait for it."""
        with self._changed:
            self._is_filling = True

    def expect_batch(self) -> None:
        """Announce a batch after a pause, so that an idle engine wakes its threads."""
        with self._changed:
            if self._num_idle and not self._is_expecting:
                self._is_expecting = True
                self._changed.notify()

    def retry(self, batch: Batch[R]) -> None:
        """Put back a batch. It is taken before all others."""
        with self._changed:
            self._retries.append(batch)
            self._changed.notify_all()

    def discard(self, request: R) -> None:
        """Remove a request."""
        with self._changed:
            for batch in (self._next, *self._retries):
                batch.discard(request)

    def stop(self) -> None:
        """Make `take` return None once no batch is left."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def take(self, turn: Turn, wake: Callable[[], None], *, is_idle: bool) -> Batch[R] | None:
        """The next batch, or None. `wake` wakes the engine's threads.

        An idle engine waits for a batch and for its model's turn, until `stop`. A busy one waits only for a fill that
        was announced, and leaves the batch to an idle engine if there is one. While an engine waits for its turn, the
        batch is filled further.
        """
        while True:
            with self._changed:
                has_waited = not self._has_batch
                is_expecting = self._wait(is_idle=is_idle)
                if not is_expecting and (not self._has_batch or (self._num_idle and not is_idle)):
                    return None
            if is_expecting:
                wake()
                continue
            if not turn.take(waits=False):
                if not is_idle:
                    return None
                has_waited = turn.take()
            with self._changed:
                batch = self._pop()
                if batch.slices and is_idle and has_waited and self._has_queued:
                    self._is_filling = True
                    self._request_fill()  # after a batch, its engine does this
            if batch.slices:
                return batch
            turn.give_back(0)  # its requests were cancelled, or another engine took it

    def _wait(self, *, is_idle: bool) -> bool:
        """Wait for a batch, the stop or an announcement. Returns whether to wake the engine's threads."""
        self._num_idle += is_idle
        self._num_busy += not is_idle
        if is_idle:
            self._changed.wait_for(lambda: self._has_batch or self._is_stopping or self._is_expecting)
        else:
            self._changed.wait_for(lambda: self._has_batch or self._is_stopping or not self._is_filling)
        self._num_idle -= is_idle
        self._num_busy -= not is_idle
        if not is_idle:
            return False
        is_expecting, self._is_expecting = self._is_expecting, False
        return is_expecting and not self._has_batch

    @property
    def _has_batch(self) -> bool:
        return bool(self._retries or self._next.slices)

    def _pop(self) -> Batch[R]:
        if self._retries:
            return self._retries.popleft()
        batch, self._next = self._next, Batch()
        return batch
