"""Reuse of rows: equal sequences of a request are computed once, and those in the cache not at all."""

from openbei.batch import Output, Rows, Sequence, concatenate
from openbei.serving.result_cache import ResultCache, num_numbers
from openbei.serving.result_key import Key, rows_by_key


class Reuse:
    """The sequences of a request that must be computed, and the rows of the others.

    `missing` are the sequences to compute, without repetitions. Rows of others come from `cache`, which may be None.
    """

    def __init__(self, sequences: list[Sequence], output: Output, cache: ResultCache | None) -> None:
        self.missing = sequences
        self._output = output
        self._cache = cache
        self._keys: list[Key] = []
        self._missing: dict[Key, Sequence] = {}
        self._found: dict[Key, Rows] = {}
        if cache or len(sequences) > 1:
            self._look_up(sequences)

    def _look_up(self, sequences: list[Sequence]) -> None:
        self._keys = [Key.of(sequence, self._output) for sequence in sequences]
        distinct = dict(zip(self._keys, sequences, strict=True))
        self._found = self._cache.find(distinct) if self._cache else {}
        self._missing = {key: sequence for key, sequence in distinct.items() if key not in self._found}
        self.missing = list(self._missing.values())

    @property
    def is_complete(self) -> bool:
        """Whether the rows of all sequences are known."""
        return bool(self._found) and not self.missing

    def num_numbers(self, computed: Rows | None) -> int:
        """About how many numbers the rows of all sequences have. `computed` are the rows of `missing`, if any."""
        num_computed = 0 if computed is None else num_numbers(computed)
        if not self._keys:
            return num_computed
        num_distinct = len(self._found) + len(self.missing)
        return (num_computed + sum(map(num_numbers, self._found.values()))) * len(self._keys) // num_distinct

    def rows(self, computed: Rows | None) -> Rows:
        """The rows of all sequences, in order, which must not be modified."""
        if computed is not None and len(self.missing) >= len(self._keys):
            return computed
        rows = self._found | self._by_key(computed)
        return concatenate([rows[key] for key in self._keys])

    def keep(self, computed: Rows | None) -> None:
        """Add the computed rows to the cache."""
        if self._cache:
            self._cache.add(self._by_key(computed))

    def _by_key(self, computed: Rows | None) -> dict[Key, Rows]:
        return {} if computed is None else rows_by_key(self._missing, computed)
