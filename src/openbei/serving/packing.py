"""Scheduling policy: which sequences form the next batch. No threads, no asyncio, no wall time.

Weighted fair queueing (Demers, Keshav & Shenker, 1989) with one flow per request. The virtual clock counts the tokens
each waiting request would have run if all shared the engine evenly. A sequence's key is the clock at which it would
finish; it is fixed when the request arrives, and batches take sequences by key. Short requests therefore overtake long
ones, large requests share the engine, and nothing starves, because later arrivals get later keys.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from openbei.batch import PER_TOKEN, Output, Sequence


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """The sequences of one request, scheduled in order. `clock` is the queue's clock at arrival."""

    sequences: list[Sequence]
    output: Output = "pooled"
    clock: float = 0.0
    num_scheduled: int = 0
    num_tokens_scheduled: int = 0
    is_ended: bool = False

    @property
    def next_tokens(self) -> int:
        """Tokens of the next sequence."""
        return len(self.sequences[self.num_scheduled].token_ids)

    @property
    def key(self) -> float:
        """The virtual finish time of the next sequence, in tokens."""
        return self.clock + self.num_tokens_scheduled + self.next_tokens

    @property
    def is_exhausted(self) -> bool:
        """Whether all sequences have been scheduled."""
        return self.num_scheduled == len(self.sequences)


R = TypeVar("R", bound=QueuedRequest)


@dataclass(slots=True)
class RequestSlice(Generic[R]):
    """Sequences `start` to `stop` of a request, consecutive in a batch, and their tokens."""

    request: R
    start: int
    stop: int
    num_tokens: int

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences of the slice."""
        return self.request.sequences[self.start : self.stop]

    @property
    def num_rows(self) -> int:
        """Rows of the engine's output for the slice."""
        return self.num_tokens if self.request.output in PER_TOKEN else self.stop - self.start


@dataclass(slots=True)
class Batch(Generic[R]):
    """Slices of requests, in packing order. All have the same output. `is_retry`: the engine that ran it was lost."""

    slices: list[RequestSlice[R]] = field(default_factory=list)
    num_tokens: int = 0
    is_retry: bool = False

    @property
    def sequences(self) -> list[Sequence]:
        """Every sequence, in packing order."""
        return [sequence for part in self.slices for sequence in part.sequences]

    @property
    def output(self) -> Output:
        """The output that all requests in the batch have in common."""
        return self.slices[0].request.output

    def has_room_for(self, request: R, max_batch_tokens: int) -> bool:
        """Whether the next sequence of a request can be added."""
        return not self.slices or (
            request.output == self.output and fits(self.num_tokens, request.next_tokens, max_batch_tokens)
        )

    def add_next(self, request: R) -> None:
        """Move the next sequence of a request into the batch."""
        num_tokens = request.next_tokens
        self.num_tokens += num_tokens
        request.num_tokens_scheduled += num_tokens
        start = request.num_scheduled
        request.num_scheduled += 1
        if self.slices and self.slices[-1].request is request:
            self.slices[-1].stop += 1
            self.slices[-1].num_tokens += num_tokens
        else:
            self.slices.append(RequestSlice(request, start, start + 1, num_tokens))

    def discard(self, request: R) -> None:
        """Remove a request's slices; they are not scheduled again."""
        self.slices = [part for part in self.slices if part.request is not request]
        self.num_tokens = sum(part.num_tokens for part in self.slices)


def fits(num_tokens: int, next_tokens: int, max_batch_tokens: int) -> bool:
    """Whether a sequence of `next_tokens` can join a batch of `num_tokens`.

    The whole batch finishes together, so a sequence that would more than double it waits for the next batch, unless the
    result is at most half the limit. A sequence above the limit runs alone.
    """
    total = num_tokens + next_tokens
    is_delaying = next_tokens > num_tokens and total > max_batch_tokens // 2
    return num_tokens == 0 or (total <= max_batch_tokens and not is_delaying)


class FairQueue(Generic[R]):
    """Requests ordered by the key of their next sequence."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._heap: list[tuple[float, int, R]] = []
        self._serial = count()
        self._clock = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, request: R) -> None:
        """Add a request that is not exhausted. Equal keys are first in, first out."""
        request.clock = self._clock
        heapq.heappush(self._heap, (request.key, next(self._serial), request))

    def fill(self, batch: Batch[R]) -> None:
        """Move sequences into a batch by key, until one does not fit. Ended requests are dropped."""
        while self._heap:
            _, serial, request = self._heap[0]
            if request.is_ended:
                heapq.heappop(self._heap)
                continue
            if not batch.has_room_for(request, self._max_batch_tokens):
                return
            self._clock += request.next_tokens / len(self._heap)
            batch.add_next(request)
            if request.is_exhausted:
                heapq.heappop(self._heap)
            else:
                heapq.heapreplace(self._heap, (request.key, serial, request))
