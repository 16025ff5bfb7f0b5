"""What the engine's rows for a sequence depend on, to recognize equal sequences."""

from collections.abc import Mapping
from typing import NamedTuple

from openbei.batch import Output, Rows, Sequence


class Key(NamedTuple):
    """All that a sequence's rows depend on. Two sequences with the same key have the same rows."""

    token_ids: bytes
    type_ids: bytes | None
    num_excluded: int
    output: Output

    @classmethod
    def of(cls, sequence: Sequence, output: Output) -> "Key":
        """The key of a sequence."""
        types = sequence.type_ids
        type_ids = None if types is None else types.tobytes()
        return cls(sequence.token_ids.tobytes(), type_ids, sequence.num_excluded, output)


def rows_by_key(sequences: Mapping[Key, Sequence], rows: Rows) -> dict[Key, Rows]:
    """Splits the rows of some sequences, which are in the same order, into those of each sequence."""
    parts, start = {}, 0
    for key, sequence in sequences.items():
        stop = start + sequence.num_rows(key.output)
        parts[key] = rows[start:stop]
        start = stop
    return parts
