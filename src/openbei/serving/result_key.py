"""What the engine's rows for a sequence depend on, to recognize equal sequences."""

from typing import NamedTuple

from openbei.batch import Output, Sequence


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
