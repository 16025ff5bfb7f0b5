"""Which sequences run next, and how many at once. Pure policy: no thread, no asyncio, no wall time.

Weighted fair queueing (Demers, Keshav & Shenker, 1989), every request being a flow: the clock tells how many tokens
each waiting request would have had by now if all had shared the engine evenly. A sequence's key, fixed when its request
arrives, is the clock at which it would be done, and batches take sequences by key. So a short request overtakes long
ones, huge ones share the engine, and nothing starves: the clock always moves on, and later arrivals get later keys.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from openbei.batch import Output, Sequence


@dataclass(slots=True, eq=False)
class Waiting:
    """The sequences of one request, taken from the front. `clock` is the queue's at arrival."""

    sequences: list[Sequence]
    output: Output = "pooled"
    clock: float = 0.0
    num_taken: int = 0
    num_tokens_taken: int = 0
    is_ended: bool = False

    @property
    def next_tokens(self) -> int:
        """Tokens of the sequence that is next."""
        return self.sequences[self.num_taken].num_tokens

    @property
    def key(self) -> float:
        """When the sequence that is next should be done, on the queue's clock, in tokens."""
        return self.clock + self.num_tokens_taken + self.next_tokens

    @property
    def is_taken(self) -> bool:
        """Whether no sequence is left here."""
        return self.num_taken == len(self.sequences)


R = TypeVar("R", bound=Waiting)


@dataclass(slots=True)
class Place(Generic[R]):
    """Sequences `start` to `stop` of a request, side by side in a batch."""

    request: R
    start: int
    stop: int

    @property
    def sequences(self) -> list[Sequence]:
        """What the place holds."""
        return self.request.sequences[self.start : self.stop]

    @property
    def num_rows(self) -> int:
        """Rows that the engine makes of it."""
        return sum(sequence.num_rows(self.request.output) for sequence in self.sequences)


@dataclass(slots=True)
class Batch(Generic[R]):
    """Places in the order in which they will be packed. All want the same output."""

    places: list[Place[R]] = field(default_factory=list)
    num_tokens: int = 0

    @property
    def sequences(self) -> list[Sequence]:
        """Every sequence, in packing order."""
        return [sequence for place in self.places for sequence in place.sequences]

    @property
    def output(self) -> Output:
        """What the engine is to make of all of it."""
        return self.places[0].request.output

    def takes(self, request: R, max_batch_tokens: int) -> bool:
        """Whether the next sequence of a request may join."""
        return not self.places or (
            request.output == self.output and fits(self.num_tokens, request.next_tokens, max_batch_tokens)
        )

    def take_next(self, request: R) -> None:
        """Move the next sequence of a request in here."""
        self.num_tokens += request.next_tokens
        request.num_tokens_taken += request.next_tokens
        start = request.num_taken
        request.num_taken += 1
        if self.places and self.places[-1].request is request:
            self.places[-1].stop += 1
        else:
            self.places.append(Place(request, start, start + 1))

    def discard(self, request: R) -> None:
        """Take a request's places out again, for good."""
        self.places = [place for place in self.places if place.request is not request]
        self.num_tokens = sum(sequence.num_tokens for sequence in self.sequences)


def fits(num_tokens: int, next_tokens: int, max_batch_tokens: int) -> bool:
    """Whether a sequence may join a batch that holds `num_tokens`.

    All of a batch is answered together, so a sequence that would more than double it waits for the next one, unless
    the batch is small even so. An empty batch takes anything: one sequence above the limit runs alone.
    """
    total = num_tokens + next_tokens
    is_delaying = next_tokens > num_tokens and total > max_batch_tokens // 2
    return num_tokens == 0 or (total <= max_batch_tokens and not is_delaying)


class FairQueue(Generic[R]):
    """Requests by the key of their next sequence."""

    def __init__(self, max_batch_tokens: int) -> None:
        self._max_batch_tokens = max_batch_tokens
        self._heap: list[tuple[float, int, R]] = []
        self._serial = count()
        self._clock = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, request: R) -> None:
        """Add a request that has a sequence left. Equal keys keep their order."""
        request.clock = self._clock
        heapq.heappush(self._heap, (request.key, next(self._serial), request))

    def fill(self, batch: Batch[R]) -> None:
        """Move sequences into a batch by key, up to the first that does not fit. Ended requests are dropped."""
        while self._heap:
            _, serial, request = self._heap[0]
            if request.is_ended:
                heapq.heappop(self._heap)
                continue
            if not batch.takes(request, self._max_batch_tokens):
                return
            self._clock += request.next_tokens / len(self._heap)
            batch.take_next(request)
            if request.is_taken:
                heapq.heappop(self._heap)
            else:
                heapq.heapreplace(self._heap, (request.key, serial, request))
