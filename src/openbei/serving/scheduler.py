"""The scheduler: queues requests on the event loop, runs batches on the engine's thread, and returns their rows.

Only the event loop accesses the queue and the requests; only the engine's thread calls the engine. They share one
prefetched batch, which the loop fills until the engine takes it. Some engines have several batches in flight. Models
take turns (`openbei.serving.turns`) and share the queue's limits. The packing policy is in `openbei.serving.packing`.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress

from openbei.batch import Engine, EngineInfo, Output, Rows, Sequence, concatenate
from openbei.errors import (
    EmptyInputError,
    EngineError,
    EngineLostError,
    InputError,
    OpenbeiError,
    OverloadedError,
    UnavailableError,
)
from openbei.serving.metrics import ModelMetrics
from openbei.serving.packing import Batch, FairQueue, RequestSlice
from openbei.serving.queue_budget import QueueBudget, QueueLimits
from openbei.serving.request import Answer, Request
from openbei.serving.speed import Speed
from openbei.serving.started_batch import StartedBatch, start_batch
from openbei.serving.turns import Turns

log = logging.getLogger(__name__)

ENGINE_STOP_S = 2.0
"""Time limit for the running batch after all requests have ended."""


class Scheduler:
    """Runs the sequences of several requests to one model in shared batches. `start` must be called on the event loop.

    `budget` and `turns` are shared with the schedulers of other models.
    """

    def __init__(
        self,
        engine: Engine,
        limits: QueueLimits,
        metrics: ModelMetrics,
        *,
        budget: QueueBudget | None = None,
        turns: Turns | None = None,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._metrics = metrics
        self._speed = Speed()
        self._batch_tokens = min(limits.max_batch_tokens or engine.batch_tokens, limits.max_num_tokens)
        self._queue: FairQueue[Request] = FairQueue(self._batch_tokens)
        self._live: set[Request] = set()
        self._budget = budget or QueueBudget(limits)
        self._share = self._budget.join()
        self._turn = (turns or Turns(engine.max_in_flight)).join()
        self._is_accepting = False
        self._is_draining = False
        self._is_stopping = False
        self._has_lost_engine = False
        self._has_ended = False
        self._is_prefetching = False
        self._is_expecting = False
        self._has_queued = False
        self._next: Batch[Request] = Batch()
        self._handover = threading.Condition()
        # A daemon thread does not keep the process alive if the engine hangs.
        self._thread = threading.Thread(target=self._serve_engine, name="engine", daemon=True)
        self._last_success_s = -math.inf
        self._batch_start_s = math.inf
        metrics.queue_size.set_function(lambda: len(self._live))
        metrics.queue_tokens.set_function(lambda: self._share.num_tokens)
        metrics.tokens_per_s.set_function(lambda: self._speed.tokens_per_s)
        metrics.load.set_function(lambda: self._share.num_tokens / self._speed.tokens_per_s)

    @property
    def engine_info(self) -> EngineInfo:
        """The description of the engine."""
        return self._engine.info

    @property
    def limits(self) -> QueueLimits:
        """The limits of the queue."""
        return self._limits

    @property
    def is_healthy(self) -> bool:
        """Whether requests are accepted and the engine's thread is alive, though the engine may hang."""
        return self._is_accepting and not self._has_ended

    @property
    def has_lost_engine(self) -> bool:
        """Whether the engine reported that it can run no more batches. Its thread has ended, or is about to."""
        return self._has_lost_engine

    @property
    def is_idle(self) -> bool:
        """Whether no request is queued or running, so that the next one runs at once."""
        return not self._live

    @property
    def is_draining(self) -> bool:
        """Whether shutdown is announced: requests are still accepted, but should go to another server."""
        return self._is_draining

    @property
    def is_hung(self) -> bool:
        """Whether a batch has been running for longer than `engine_timeout_s`. The engine cannot be stopped then."""
        return time.monotonic() - self._batch_start_s > self._limits.engine_timeout_s

    @property
    def seconds_since_success(self) -> float:
        """Seconds since the last successful batch; infinite before the first."""
        return time.monotonic() - self._last_success_s

    def start(self) -> None:
        """Start to accept requests. Must be called once, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._is_accepting = True
        self._thread.start()

    def expect(self) -> None:
        """Wake the engine's threads if they sleep, because a request is about to be submitted."""
        if self._live or self._is_expecting:
            return
        with self._handover:
            self._is_expecting = True
            self._handover.notify()

    def submit(self, sequences: list[Sequence], output: Output = "pooled") -> "asyncio.Future[Answer]":
        """Queue a request and return the future of its answer, which can be cancelled.

        Raises UnavailableError, OverloadedError, EmptyInputError, and InputError for a sequence above `max_num_tokens`.
        The future raises EngineError or UnavailableError.
        """
        self.check_room()
        self._check(sequences)
        num_tokens = sum(sequence.num_tokens for sequence in sequences)
        future: asyncio.Future[Answer] = self._loop.create_future()
        request = Request(sequences, output, future=future, num_tokens_left=num_tokens)
        future.add_done_callback(lambda future: self._end(request))
        self._live.add(request)
        self._share.num_requests += 1
        self._share.num_tokens += num_tokens
        self._queue.push(request)
        self._prefetch()
        return future

    def check_room(self) -> None:
        """Raise UnavailableError or OverloadedError if a request would not be queued now."""
        if not self.is_healthy:
            raise UnavailableError("the server is shutting down or its engine has stopped", hint="try another replica")
        if not self._budget.has_room(self._share):
            raise OverloadedError(
                f"the queue is full: {self._budget}",
                retry_after_s=self._share.num_tokens / self._speed.tokens_per_s,
                hint="send it again after the time in Retry-After",
            )

    def drain(self) -> None:
        """Announce shutdown, so that health checks fail and load balancers send requests to other servers."""
        self._is_draining = True

    async def close(self, deadline_s: float) -> None:
        """Refuse new requests and finish those already queued. After `deadline_s` seconds, the others fail."""
        self._is_accepting = False
        if self._live:
            await asyncio.wait([request.future for request in self._live], timeout=deadline_s)
        self._fail_all(UnavailableError("the server shut down before the request finished"))
        with self._handover:
            self._is_stopping = True
            self._handover.notify()
        await asyncio.to_thread(self._thread.join, ENGINE_STOP_S)

    def _check(self, sequences: list[Sequence]) -> None:
        if not sequences:
            raise EmptyInputError("the request has no inputs")
        limits = self._limits
        longest = max(sequence.num_tokens for sequence in sequences)
        if longest > limits.max_num_tokens:
            limit = limits.max_num_tokens
            raise InputError(f"an input has {longest} tokens; the limit of a batch is {limit}", param="input")

    def _prefetch(self) -> None:
        """Fill the batch that the engine takes next."""
        with self._handover:
            self._queue.fill(self._next)
            self._has_queued = len(self._queue) > 0
            self._is_prefetching = False
            # An engine with one batch in flight waits for slices only; waking it for nothing would take the GIL.
            if self._next.slices or self._engine.max_in_flight > 1:
                self._handover.notify()

    def _receive(self, batch: Batch[Request], result: Rows | BaseException, started_s: float, seconds: float) -> None:
        """Process the result of a batch. The next batch is filled first."""
        self._speed.add(batch.num_tokens, seconds)
        if isinstance(result, BaseException):
            self._metrics.batch_failures.inc()
            log.error("a batch of %d tokens failed", batch.num_tokens, exc_info=result)
            self._fail([part.request for part in batch.slices], result)
            self._prefetch()
            return
        self._prefetch()
        self._observe(batch, seconds)
        self._last_success_s = time.monotonic()
        row = 0
        for part in batch.slices:
            num_rows = part.num_rows
            self._scatter(part, result[row : row + num_rows], started_s)
            row += num_rows

    def _scatter(self, part: RequestSlice[Request], rows: Rows, started_s: float) -> None:
        """Append rows to a request. They are in order, because slices are taken and batches run in order."""
        request = part.request
        if request.future.done():  # cancelled or failed; `_end` may not have been called yet
            return
        num_tokens = sum(sequence.num_tokens for sequence in part.sequences)
        request.num_tokens_left -= num_tokens
        self._share.num_tokens -= num_tokens
        request.started_s = min(request.started_s, started_s)
        request.parts.append(rows)
        request.num_done += part.stop - part.start
        if request.num_done == len(request.sequences):
            queue_s = max(request.started_s - request.arrival_s, 0)
            inference_s = time.monotonic() - request.started_s
            self._end(request)
            request.future.set_result(Answer(concatenate(request.parts), queue_s, inference_s))

    def _end(self, request: Request) -> None:
        """Remove a request that is answered, failed or cancelled, and its queued sequences."""
        if request.is_ended:
            return
        request.is_ended = True
        self._live.discard(request)
        self._share.num_requests -= 1
        self._share.num_tokens -= request.num_tokens_left
        if request.future.cancelled():
            self._metrics.cancelled_requests.inc()
        if request.num_done < len(request.sequences):
            with self._handover:
                self._next.discard(request)
            self._prefetch()

    def _fail(self, requests: Iterable[Request], error: BaseException) -> None:
        for request in requests:
            self._end(request)
            if not request.future.done():
                request.future.set_exception(_failure(error))

    def _fail_all(self, error: BaseException) -> None:
        self._is_accepting = False
        self._fail(list(self._live), error)

    def _observe(self, batch: Batch[Request], seconds: float) -> None:
        self._metrics.observe_batch(batch.sequences, self._batch_tokens, seconds)

    def _serve_engine(self) -> None:
        """Run batches until the scheduler stops. All requests fail if the thread ends for any other reason."""
        in_flight: deque[StartedBatch[Request]] = deque()
        end_s = -math.inf
        try:
            while True:
                while len(in_flight) < self._engine.max_in_flight and (batch := self._take(is_idle=not in_flight)):
                    self._batch_start_s = min(self._batch_start_s, time.monotonic())
                    in_flight.append(start_batch(self._engine, batch))
                if not in_flight:
                    return
                started = in_flight.popleft()
                result = started.result()
                begin_s, end_s = max(started.start_s, end_s), time.monotonic()
                self._batch_start_s = end_s if in_flight else math.inf
                self._turn.give_back(end_s - begin_s)
                self._is_prefetching = True  # `_receive` prefetches
                self._on_loop(self._receive, started.batch, result, started.start_s, end_s - begin_s)
                if isinstance(result, EngineLostError):
                    self._has_lost_engine = True
                    return
        finally:
            self._has_ended = True
            self._on_loop(self._fail_all, UnavailableError("the engine's thread has ended"))

    def _take(self, *, is_idle: bool) -> Batch[Request] | None:
        """The prefetched batch, when it is this model's turn; or None.

        An idle engine waits for both until the scheduler stops; a busy one only waits for a prefetch under way. While
        it waits for its turn, the batch is filled further.
        """
        while True:
            with self._handover:
                has_waited = not self._next.slices
                self._handover.wait_for(
                    lambda: (
                        self._next.slices
                        or self._is_stopping
                        or self._is_expecting
                        or not (is_idle or self._is_prefetching)
                    )
                )
                is_expecting, self._is_expecting = self._is_expecting, False
                if not self._next.slices and not is_expecting:
                    return None
            if is_expecting and not self._next.slices:
                with suppress(Exception):  # the batch that follows reports it
                    self._engine.wake()
                continue
            if not self._turn.take(waits=False):
                if not is_idle:
                    return None
                has_waited = self._turn.take()
            with self._handover:
                batch, self._next = self._next, Batch()
                if batch.slices and is_idle and has_waited and self._has_queued:
                    self._is_prefetching = True
                    self._on_loop(self._prefetch)  # after a batch, `_receive` does this
            if batch.slices:
                return batch
            self._turn.give_back(0)  # its requests were cancelled

    def _on_loop(self, function: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so no request is left
            self._loop.call_soon_threadsafe(function, *args)


def _failure(error: BaseException) -> OpenbeiError:
    """A separate exception for each request, because raising an exception extends its traceback."""
    if isinstance(error, UnavailableError):
        return UnavailableError(error.message)
    failure = EngineError(f"the batch failed in the engine: {type(error).__name__}", hint="send it again")
    failure.__cause__ = error
    return failure
