"""Properties of the scheduling policy."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.batch import Sequence
from openbei.serving.packing import Batch, FairQueue, QueuedRequest, fits

LIMIT = 100

requests_of_lengths = st.lists(
    st.lists(st.integers(1, 150), min_size=1, max_size=20).map(lambda lengths: waiting(lengths)),
    min_size=1,
    max_size=15,
)


def waiting(lengths: list[int]) -> QueuedRequest:
    return QueuedRequest([Sequence(np.zeros(n, np.int32), n) for n in lengths])


def queue_of(*requests: QueuedRequest) -> FairQueue[QueuedRequest]:
    queue: FairQueue[QueuedRequest] = FairQueue(LIMIT)
    for request in requests:
        queue.push(request)
    return queue


def batches(queue: FairQueue[QueuedRequest]) -> list[Batch[QueuedRequest]]:
    made = []
    while len(queue):
        batch: Batch[QueuedRequest] = Batch()
        queue.fill(batch)
        made.append(batch)
    return made


def run_batch(queue: FairQueue[QueuedRequest]) -> int:
    """Take the next batch; returns its tokens."""
    batch: Batch[QueuedRequest] = Batch()
    queue.fill(batch)
    return batch.num_tokens


@given(requests_of_lengths)
def test_every_sequence_runs_once_and_in_order(requests: list[QueuedRequest]) -> None:
    seen: dict[int, list[int]] = {id(request): [] for request in requests}
    for batch in batches(queue_of(*requests)):
        for part in batch.slices:
            seen[id(part.request)] += range(part.start, part.stop)
    for request in requests:
        assert seen[id(request)] == list(range(len(request.sequences)))


@given(requests_of_lengths)
def test_batches_keep_the_limit(requests: list[QueuedRequest]) -> None:
    for batch in batches(queue_of(*requests)):
        sizes = [sequence.num_tokens for sequence in batch.sequences]
        assert sum(sizes) == batch.num_tokens
        assert len(sizes) == 1 or sum(sizes) <= LIMIT
        for i in range(1, len(sizes)):
            assert sizes[i] <= sum(sizes[:i]) or sum(sizes[: i + 1]) <= LIMIT // 2


@given(requests_of_lengths)
def test_waiting_requests_advance_evenly(requests: list[QueuedRequest]) -> None:
    keys = [
        sum(sequence.num_tokens for sequence in part.request.sequences[: i + 1])
        for batch in batches(queue_of(*requests))
        for part in batch.slices
        for i in range(part.start, part.stop)
    ]
    assert keys == sorted(keys)


@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 30))
def test_a_short_request_does_not_wait_for_huge_ones(num_huge: int, short_tokens: int, num_batches: int) -> None:
    queue = queue_of(*(waiting([100] * 50) for _ in range(num_huge)))
    for _ in range(num_batches):
        run_batch(queue)
    short = waiting([short_tokens])
    queue.push(short)
    for _ in range(3):
        run_batch(queue)
    assert short.is_exhausted


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 100), st.integers(1, 50))
def test_nothing_starves(num_others: int, short_tokens: int) -> None:
    """Even if every short request is replaced as soon as it is scheduled."""
    huge = waiting([100] * 5)
    queue = queue_of(huge)
    others: list[QueuedRequest] = []
    num_tokens_run = 0
    while not huge.is_exhausted:
        others = [other for other in others if not other.is_exhausted]
        while len(others) < num_others:
            others.append(waiting([short_tokens]))
            queue.push(others[-1])
        num_tokens_run += run_batch(queue)
        assert num_tokens_run <= (num_others + 1) * (500 + short_tokens) + 2 * LIMIT


def test_a_short_request_overtakes_a_long_one() -> None:
    long, short = waiting([90] * 50), waiting([10])
    first = batches(queue_of(long, short))[0]
    assert first.slices[0].request is short


def test_two_huge_requests_share() -> None:
    made = batches(queue_of(waiting([60] * 10), waiting([60] * 10)))
    order = [id(batch.slices[0].request) for batch in made]
    assert all(order[i] != order[i + 1] for i in range(0, len(order), 2))


def test_ended_requests_are_dropped() -> None:
    ended, other = waiting([50] * 3), waiting([50])
    queue = queue_of(ended, other)
    ended.is_ended = True
    assert [batch.slices[0].request for batch in batches(queue)] == [other]


def test_a_batch_discards_a_request() -> None:
    batch: Batch[QueuedRequest] = Batch()
    discarded, other = waiting([20, 20]), waiting([30])
    queue_of(discarded, other).fill(batch)
    batch.discard(discarded)
    assert batch.num_tokens == 30
    assert [part.request for part in batch.slices] == [other]


def test_fits() -> None:
    assert fits(0, 500, LIMIT)
    assert fits(20, 30, LIMIT)
    assert fits(50, 50, LIMIT)
    assert not fits(51, 50, LIMIT)
    assert not fits(10, 60, LIMIT)
