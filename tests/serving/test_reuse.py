"""Sequences that are not computed: repetitions within a request, and sequences whose rows are in the cache."""

import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbei.batch import Output, PackedBatch, Rows, Sequence, SparseVectors
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.result_cache import ARRAY_BYTES, ENTRY_BYTES, ResultCache
from openbei.serving.result_key import Key
from openbei.serving.reuse import Reuse

DENSE, SPARSE = FakeEngine(4), FakeEngine(4, is_sparse=True)
OUTPUTS: tuple[Output, ...] = ("pooled", "labels", "tokens")


def cache_of(max_bytes: int, metrics: Metrics | None = None) -> ResultCache:
    return ResultCache(max_bytes, ModelMetrics(metrics or Metrics(), "m", "embedding"))


def sequence(*ids: int, types: tuple[int, ...] | None = None, num_excluded: int = 0) -> Sequence:
    type_ids = None if types is None else np.array(types, np.int32)
    return Sequence(np.array(ids, np.int32), len(ids), type_ids, num_excluded)


def compute(engine: FakeEngine, sequences: list[Sequence], output: Output) -> Rows:
    return engine.run(PackedBatch.pack(sequences), output)


def content(rows: Rows) -> tuple[bytes, ...]:
    if isinstance(rows, SparseVectors):
        return tuple(array.tobytes() for array in (rows.indices, rows.values, rows.cu_terms))
    return (rows.tobytes(), repr(rows.shape).encode())


requests = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(st.lists(requests, min_size=1, max_size=5), st.sampled_from(OUTPUTS), st.booleans(), st.sampled_from((0, 2000)))
def test_rows_are_those_of_an_engine_that_computes_all(
    rounds: list[list[list[int]]], output: Output, is_sparse: bool, max_bytes: int
) -> None:
    """Byte for byte, with a cache that is too small for all, and without one."""
    engine, cache = SPARSE if is_sparse else DENSE, cache_of(max_bytes) if max_bytes else None
    for request in rounds:
        sequences = [sequence(*ids) for ids in request]
        reuse = Reuse(sequences, output, cache)
        assert len({s.token_ids.tobytes() for s in reuse.missing}) == len(reuse.missing)
        computed = compute(engine, reuse.missing, output) if reuse.missing else None
        assert content(reuse.rows(computed)) == content(compute(engine, sequences, output))
        assert reuse.num_numbers(computed) >= 0
        reuse.keep(computed)
        assert cache is None or cache.num_bytes <= max_bytes


def test_what_changes_a_row_is_in_its_key() -> None:
    ways = [
        Key.of(sequence(1, 2), "pooled"),
        Key.of(sequence(1, 2), "tokens"),
        Key.of(sequence(1, 2, types=(0, 1)), "pooled"),
        Key.of(sequence(1, 2, types=(1, 1)), "pooled"),
        Key.of(sequence(1, 2, num_excluded=1), "pooled"),
        Key.of(sequence(2, 1), "pooled"),
        Key.of(sequence(1), "pooled"),
    ]
    assert len({*ways}) == len(ways)
    assert Key.of(Sequence(np.array([1, 2], np.int32), 9), "pooled") == ways[0]


def test_a_sequence_is_computed_once() -> None:
    reuse = Reuse([sequence(1), sequence(2, 3), sequence(1), sequence(2, 3)], "pooled", None)
    assert [s.token_ids.tolist() for s in reuse.missing] == [[1], [2, 3]]
    assert not reuse.is_complete
    assert not Reuse([], "pooled", None).is_complete


def keep(cache: ResultCache, *ids: int) -> None:
    reuse = Reuse([sequence(*ids)], "pooled", cache)
    reuse.keep(compute(DENSE, [sequence(*ids)], "pooled"))


def has(cache: ResultCache, *ids: int) -> bool:
    return Reuse([sequence(*ids)], "pooled", cache).is_complete


def test_the_least_recently_used_is_dropped() -> None:
    cache = cache_of(2 * ENTRY_BYTES + 400)
    keep(cache, 1)
    keep(cache, 2)
    assert has(cache, 1)
    keep(cache, 3)
    assert [has(cache, 1), has(cache, 2), has(cache, 3)] == [True, False, True]


def test_rows_that_are_too_large_are_left_out() -> None:
    cache = cache_of(1000)
    keep(cache, 1)
    cache.add({Key.of(sequence(2), "pooled"): np.zeros((1, 400), np.float32)})
    assert has(cache, 1)
    assert not has(cache, 2)


def test_metrics() -> None:
    metrics = Metrics()
    cache = cache_of(10_000, metrics)
    keep(cache, 1)
    assert has(cache, 1)
    read = metrics.registry.get_sample_value
    assert read("openbei_cache_hits_total", {"model": "m"}) == 1
    assert read("openbei_cache_misses_total", {"model": "m"}) == 1
    assert read("openbei_cache_bytes", {"model": "m"}) == cache.num_bytes > 0


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize("width", [8, 1024])
def test_memory_is_bounded(is_sparse: bool, width: int) -> None:
    """What Python allocates for a full cache is at most the limit; the rows are not views of their batch."""
    max_bytes = 400_000
    engine = FakeEngine(width, is_sparse=is_sparse)
    cache = cache_of(max_bytes)
    sequences = [Sequence(np.arange(i, i + 20, dtype=np.int32), 20) for i in range(1_000)]
    batch = compute(engine, sequences[:100], "pooled")
    tracemalloc.start()
    for i, one in enumerate(sequences):
        cache.add({Key.of(one, "pooled"): batch[i % 100 : i % 100 + 1]})
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.9 * max_bytes < cache.num_bytes <= max_bytes
    assert 0.7 * cache.num_bytes < allocated <= cache.num_bytes


def test_threads_share_a_cache() -> None:
    """Each gets the rows of its own sequences, and the count of bytes is right in the end."""
    cache, failures = cache_of(20_000), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(100):
            sequences = [sequence(*rng.integers(0, 4, 2).tolist()) for _ in range(4)]
            reuse = Reuse(sequences, "pooled", cache)
            computed = compute(DENSE, reuse.missing, "pooled") if reuse.missing else None
            if content(reuse.rows(computed)) != content(compute(DENSE, sequences, "pooled")):
                failures.append(sequences)
            reuse.keep(computed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    cached = [ids for ids in np.ndindex(4, 4) if has(cache, *ids)]
    assert len(cached) == 16
    [one] = {cache.num_bytes / len(cached)}
    assert one == ENTRY_BYTES + ARRAY_BYTES + 8 + 16
