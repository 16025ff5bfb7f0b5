"""The scheduler: queues requests on the event loop, runs batches on the engines' threads, and returns their rows.

Only the event loop accesses the queue and the requests; each engine has a thread (`openbei.serving.replica`). They
share one prefetched batch (`openbei.serving.handover`), which the loop fills until an engine takes it. Some engines
have several batches in flight. An engine that is lost or hangs is taken out of service, and another one runs its
batches.
Models take turns (`openbei.serving.turns`) and share the queue's limits. The packing policy is in
`openbei.serving.packing`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from contextlib import suppress

from openbei.batch import Engine, EngineInfo, Output, Rows, Sequence, concatenate
from openbei.errors import (
    EmptyInputError,
    EngineLostError,
    InputError,
    OverloadedError,
    UnavailableError,
)
from openbei.serving.handover import Handover
from openbei.serving.metrics import ModelMetrics
from openbei.serving.packing import Batch, FairQueue, RequestSlice
from openbei.serving.queue_budget import QueueBudget, QueueLimits
from openbei.serving.replica import Replica, Result
from openbei.serving.request import Answer, PendingAnswer, Request, failure
from openbei.serving.speed import Speed
from openbei.serving.turns import Turns

log = logging.getLogger(__name__)

ENGINE_STOP_S = 2.0
"""Time limit for the running batches after all requests have ended."""


class Scheduler:
    """Runs the sequences of several requests to one model in shared batches. `start` must be called on the event loop.

    `engines` have the same weights, each on its own device; `turns` has an entry for each device. `budget` and `turns`
    are shared with the schedulers of other models.
    """

    def __init__(
        self,
        engines: Items[Engine],
        limits: QueueLimits,
        metrics: ModelMetrics,
        *,
        budget: QueueBudget | None = None,
        turns: Items[Turns] | None = None,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._speed = Speed()
        batch_tokens = min(engine.batch_tokens for engine in engines)
        self._batch_tokens = min(limits.max_batch_tokens or batch_tokens, limits.max_num_tokens)
        self._queue: FairQueue[Request] = FairQueue(self._batch_tokens)
        self._live: set[Request] = set()
        self._budget = budget or QueueBudget(limits)
        self._share = self._budget.join()
        self._is_accepting = False
        self._is_draining = False
        self._is_stopping = False
        self._emptied = asyncio.Event()
        self._handover: Handover[Request] = Handover(lambda: self._on_loop(self.prefetch))
        self._replicas = [
            Replica(
                engine,
                each.join(),
                self._handover,
                receive=lambda *result: self._on_loop(self._receive, *result),
                ended=lambda replica: self._on_loop(self._take_out_ended, replica),
            )
            for engine, each in zip(engines, turns or [Turns(one.max_in_flight) for one in engines], strict=True)
        ]
        self._working = [*self._replicas]
        self._last_success_s = -math.inf
        metrics.queue_size.set_function(lambda: len(self._live))
        metrics.queue_tokens.set_function(lambda: self._share.num_tokens)
        metrics.tokens_per_s.set_function(lambda: self._tokens_per_s)
        metrics.load.set_function(lambda: self._share.num_tokens / self._tokens_per_s)
        metrics.engines.set_function(lambda: len(self._working))

    @property
    def engine_infos(self) -> list[EngineInfo]:
        """The descriptions of all engines, including those out of service."""
        return [replica.info for replica in self._replicas]

    @property
    def num_working(self) -> int:
        """The number of engines in service."""
        return len(self._working)

    @property
    def limits(self) -> QueueLimits:
        """The limits of the queue."""
        return self._limits

    @property
    def is_healthy(self) -> bool:
        """Whether requests are accepted and an engine's thread is alive, though the engine may hang."""
        return self._is_accepting and any(replica.is_running for replica in self._working)

    @property
    def has_lost_engine(self) -> bool:
        """Whether no engine is left that can run batches."""
        return not self._working

    @property
    def tokenizes_on_loop(self) -> bool:
        """See `RequestScheduler`: if no request is queued or running, an engine waits for the tokens."""
        return not self._live

    @property
    def is_draining(self) -> bool:
        """Whether shutdown is announced: requests are still accepted, but should go to another server."""
        return self._is_draining

    @property
    def is_hung(self) -> bool:
        """Whether every engine in service hangs: each has been running a batch for longer than `engine_timeout_s`."""
        return bool(self._working) and all(map(self._hangs, self._working))

    @property
    def has_taken_out(self) -> bool:
        """Whether an engine was taken out of service. Its thread may still run, and its memory must not be freed."""
        return any(replica.is_out for replica in self._replicas)

    @property
    def seconds_since_success(self) -> float:
        """Seconds since the last successful batch; infinite before the first."""
        return time.monotonic() - self._last_success_s

    def start(self) -> None:
        """Start to accept requests. Must be called once, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._is_accepting = True
        for replica in self._replicas:
            replica.start()

    def take_out_hung(self) -> None:
        """Take engines that hang out of service, except the last one. Must be called regularly, on the event loop."""
        for replica in [one for one in self._working if self._hangs(one)]:
            if self.num_working > 1:
                timeout_s = self._limits.engine_timeout_s
                self._take_out(replica, EngineLostError(f"a batch has been running for more than {timeout_s:.0f} s"))

    def expect(self) -> None:
        """Wake the engine's threads if they sleep, because a request is about to be submitted."""
        if not self._live:
            self._handover.expect_batch()

    def submit(self, sequences: list[Sequence], output: Output = "pooled") -> "asyncio.Future[Answer]":
        """Queue a request and return the future of its answer, which can be cancelled.

        Raises UnavailableError, OverloadedError, EmptyInputError, and InputError for a sequence above `max_num_tokens`.
        The future raises EngineError or UnavailableError.
        """
        self._check(sequences)
        future: asyncio.Future[Answer] = self._loop.create_future()
        request = self._push(sequences, output, future)
        future.add_done_callback(lambda future: self.end(request))
        self.prefetch()
        return future

    def queue(self, sequences: list[Sequence], output: Output, answer: PendingAnswer) -> Request:
        """Queue a request without a future, to run after the next `prefetch`. Raises what `submit` raises.

        `end` must be called if it is cancelled.
        """
        self._check(sequences)
        return self._push(sequences, output, answer)

    def _push(self, sequences: list[Sequence], output: Output, answer: PendingAnswer) -> Request:
        num_tokens = sum([len(sequence.token_ids) for sequence in sequences])
        request = Request(sequences, output, answer=answer, num_tokens_left=num_tokens)
        self._live.add(request)
        self._share.num_requests += 1
        self._share.num_tokens += num_tokens
        self._queue.push(request)
        return request

    def prefetch(self) -> None:
        """Fill the batch that an engine takes next."""
        self._handover.fill(self._queue)

    def end(self, request: Request) -> None:
        """Remove a request that is answered, failed or cancelled, and its queued sequences."""
        if request.is_ended:
            return
        request.is_ended = True
        self._live.discard(request)
        if not self._live:
            self._emptied.set()
        self._share.num_requests -= 1
        self._share.num_tokens -= request.num_tokens_left
        if request.answer.cancelled():
            self._metrics.cancelled_requests.inc()
        if request.num_done < len(request.sequences):
            self._handover.discard(request)
            self.prefetch()

    def check_room(self) -> None:
        """Raise UnavailableError or OverloadedError if a request would not be queued now."""
        if not self.is_healthy:
            raise UnavailableError("the server is shutting down or its engine has stopped", hint="try another replica")
        if not self._budget.has_room(self._share):
            raise OverloadedError(
                f"the queue is full: {self._budget}",
                retry_after_s=self._share.num_tokens / self._tokens_per_s,
                hint="send it again after the time in Retry-After",
            )

    def drain(self) -> None:
        """Announce shutdown, so that health checks fail and load balancers send requests to other servers."""
        self._is_draining = True

    async def close(self, deadline_s: float) -> None:
        """Refuse new requests and finish those already queued. After `deadline_s` seconds, the others fail."""
        self._is_accepting = False
        if self._live:
            self._emptied.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), deadline_s)
        self._fail_all(UnavailableError("the server shut down before the request finished"))
        self._is_stopping = True
        self._handover.stop()
        await asyncio.gather(*(asyncio.to_thread(one.join, ENGINE_STOP_S) for one in self._working))

    @property
    def _tokens_per_s(self) -> float:
        return self._speed.tokens_per_s * max(self.num_working, 1)

    def _hangs(self, replica: Replica[Request]) -> bool:
        return replica.is_hung(self._limits.engine_timeout_s)

    def _check(self, sequences: list[Sequence]) -> None:
        self.check_room()
        if not sequences:
            raise EmptyInputError("the request has no inputs")
        limits = self._limits
        longest = max([len(sequence.token_ids) for sequence in sequences])
        if longest > limits.max_num_tokens:
            limit = limits.max_num_tokens
            raise InputError(f"an input has {longest} tokens; the limit of a batch is {limit}", param="input")

    def _receive(self, replica: Replica[Request], result: Result[Request]) -> None:
        """Process the result of a batch. The next batch is filled first."""
        batch, rows, started_s, seconds = result
        if isinstance(rows, EngineLostError) and not replica.is_out:
            self._take_out(replica, rows)
        elif not replica.done(batch):
            self.prefetch()
        elif isinstance(rows, BaseException):
            self._speed.add(batch.num_tokens, seconds)
            self._fail_batch(batch, rows)
            self.prefetch()
        else:
            self._speed.add(batch.num_tokens, seconds)
            self.prefetch()
            self._metrics.observe_batch(batch.sequences, self._batch_tokens, seconds, replica.info.place)
            self._last_success_s = time.monotonic()
            row = 0
            for part in batch.slices:
                num_rows = part.num_rows
                self._scatter(part, rows[row : row + num_rows], started_s)
                row += num_rows

    def _take_out_ended(self, replica: Replica[Request]) -> None:
        """Take an engine out of service if its thread ended before the scheduler stopped."""
        if not self._is_stopping:
            self._take_out(replica, EngineLostError("the engine's thread has ended"))

    def _take_out(self, replica: Replica[Request], error: EngineLostError) -> None:
        """Give an engine no more batches. Those that it did not finish run once more, on another engine."""
        if replica.is_out:
            return
        batches = replica.take_out()
        self._working.remove(replica)
        log.error("%s is out of service; %d of %d engines remain", replica.info, self.num_working, len(self._replicas))
        for batch in batches:
            if self.num_working and not batch.is_retry:
                self._retry(batch, error)
            else:
                self._fail_batch(batch, error)
        self.prefetch()
        if not self.num_working:
            self._fail_all(UnavailableError("no engine is left that can run batches"))

    def _retry(self, batch: Batch[Request], error: EngineLostError) -> None:
        log.warning("a batch of %d tokens failed and runs again", batch.num_tokens, exc_info=error)
        self._metrics.retried_batches.inc()
        for request in [part.request for part in batch.slices if part.request.is_ended]:
            batch.discard(request)
        batch.is_retry = True
        self._handover.retry(batch)

    def _fail_batch(self, batch: Batch[Request], error: BaseException) -> None:
        self._metrics.batch_failures.inc()
        log.error("a batch of %d tokens failed", batch.num_tokens, exc_info=error)
        self._fail([part.request for part in batch.slices], error)

    def _scatter(self, part: RequestSlice[Request], rows: Rows, started_s: float) -> None:
        """Add rows to a request. With several engines, batches may not finish in the order in which they started."""
        request = part.request
        if request.answer.done():  # cancelled or failed; `end` may not have been called yet
            return
        request.num_tokens_left -= part.num_tokens
        self._share.num_tokens -= part.num_tokens
        request.started_s = min(request.started_s, started_s)
        request.parts[part.start] = rows
        request.num_done += part.stop - part.start
        if request.num_done == len(request.sequences):
            queue_s = max(request.started_s - request.arrival_s, 0)
            inference_s = time.monotonic() - request.started_s
            self.end(request)
            in_order = [request.parts[start] for start in sorted(request.parts)]
            request.answer.set_result(Answer(concatenate(in_order), queue_s, inference_s))

    def _fail(self, requests: Iterable[Request], error: BaseException) -> None:
        for request in requests:
            self.end(request)
            if not request.answer.done():
                request.answer.set_exception(failure(error))

    def _fail_all(self, error: BaseException) -> None:
        self._is_accepting = False
        self._fail(list(self._live), error)

    def _on_loop(self, function: Callable[..., None], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so no request is left
            self._loop.call_soon_threadsafe(function, *args)
