"""A cache of the engine's rows by token ids, bounded by bytes; the least recently used entries are dropped first."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from threading import Lock

from openbei.batch import Rows, SparseVectors
from openbei.serving.metrics import ModelMetrics
from openbei.serving.result_key import Key

ENTRY_BYTES, ARRAY_BYTES = 320, 140
"""Overhead of an entry, which has a key and a slot in the table, and of each of its arrays, in bytes."""


class ResultCache:
    """Keeps the rows of sequences in at most `max_bytes` of memory. Threads may share it."""

    def __init__(self, max_bytes: int, metrics: ModelMetrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._entries: OrderedDict[Key, Rows] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()
        metrics.cache_bytes.set_function(lambda: self._num_bytes)

    @property
    def num_bytes(self) -> int:
        """The memory of all entries."""
        return self._num_bytes

    def find(self, keys: Collection[Key]) -> dict[Key, Rows]:
        """The rows of the keys that are in the cache. They must not be modified."""
        found = {}
        with self._lock:
            for key in keys:
                if (rows := self._entries.get(key)) is not None:
                    self._entries.move_to_end(key)
                    found[key] = rows
        self._metrics.cache_hits.inc(len(found))
        self._metrics.cache_misses.inc(len(keys) - len(found))
        return found

    def add(self, results: Mapping[Key, Rows]) -> None:
        """Add copies of rows. Rows that are larger than the cache are left out."""
        with self._lock:
            for key, rows in results.items():
                num_bytes = _entry_bytes(key, rows)
                if key in self._entries or num_bytes > self._max_bytes:
                    continue
                self._num_bytes += num_bytes
                while self._num_bytes > self._max_bytes:
                    self._num_bytes -= _entry_bytes(*self._entries.popitem(last=False))
                self._entries[key] = _copied(rows)


def num_numbers(rows: Rows) -> int:
    """The number of values in rows."""
    return (rows.values if isinstance(rows, SparseVectors) else rows).size


def _entry_bytes(key: Key, rows: Rows) -> int:
    arrays = (rows.indices, rows.values, rows.cu_terms) if isinstance(rows, SparseVectors) else (rows,)
    num_key_bytes = ENTRY_BYTES + len(key.token_ids) + len(key.type_ids or b"")
    return num_key_bytes + sum(ARRAY_BYTES + array.nbytes for array in arrays)


def _copied(rows: Rows) -> Rows:
    """A copy, because the rows are a view of the whole batch's."""
    if isinstance(rows, SparseVectors):
        return SparseVectors(rows.indices.copy(), rows.values.copy(), rows.cu_terms.copy(), rows.width)
    copied = rows.copy()
    copied.setflags(write=False)
    return copied
