"""Reuse of rows: equal sequences of a request are computed once, and those in the cache not at all."""

from openbei.batch import Output, Rows, Sequence, concatenate
from openbei.serving.result_cache import Key, ResultCache, num_numbers


class Reuse:
    """The sequences of a request: which of them are computed, and the rows of the others.

    Sequences are `missing` if they must be computed, and found if their rows are in `cache`, which may be None.
    """

    def __init__(self, sequences: list[Sequence], output: Output, cache: ResultCache | None) -> None:
        self._output = output
        self._cache = cache
        self._keys = [Key.of(sequence, output) for sequence in sequences]
        distinct = dict(zip(self._keys, sequences, strict=True))
        self._found = cache.find(distinct) if cache else {}
        self._missing = {key: sequence for key, sequence in distinct.items() if key not in self._found}

    @property
    def missing(self) -> list[Sequence]:
        """The sequences to compute, without repetitions."""
        return [*self._missing.values()]

    @property
    def is_complete(self) -> bool:
        """Whether the rows of all sequences are known."""
        return bool(self._keys) and not self._missing

    def num_numbers(self, computed: Rows | None) -> int:
        """About how many numbers the rows of all sequences have. `computed` are the rows of `missing`, if any."""
        found = sum(map(num_numbers, self._found.values()))
        total = found + (0 if computed is None else num_numbers(computed))
        return total * len(self._keys) // (len(self._found) + len(self._missing))

    def rows(self, computed: Rows | None) -> Rows:
        """The rows of all sequences, in order, which must not be modified."""
        if computed is not None and len(self._missing) == len(self._keys):
            return computed
        rows = self._found | self._by_key(computed)
        return concatenate([rows[key] for key in self._keys])

    def keep(self, computed: Rows | None) -> None:
        """Add the computed rows to the cache."""
        if self._cache:
            self._cache.add(self._by_key(computed))

    def _by_key(self, computed: Rows | None) -> dict[Key, Rows]:
        if computed is None:
            return {}
        rows, start = {}, 0
        for key, sequence in self._missing.items():
            stop = start + sequence.num_rows(self._output)
            rows[key] = computed[start:stop]
            start = stop
        return rows
