"""The contract between what is above the engine and what is below: packed token ids in, float32 vectors out.

Above it nobody sees a tensor, below it nobody sees a request. numpy only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Int32s = NDArray[np.int32]
Vectors = NDArray[np.float32]

Output = Literal["pooled", "tokens"]


@dataclass(frozen=True, slots=True)
class Sequence:
    """One tokenized input.

    `token_ids` is int32 [n], n ≥ 1, special tokens included. `num_tokens_given` is the length before truncation.
    """

    token_ids: Int32s
    num_tokens_given: int

    @property
    def num_tokens(self) -> int:
        """Tokens that the engine will read."""
        return len(self.token_ids)

    @property
    def is_truncated(self) -> bool:
        """Whether tokens were cut off."""
        return self.num_tokens_given > self.num_tokens


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Sequences end to end, without padding.

    Sequence i is `token_ids[cu_seqlens[i]:cu_seqlens[i + 1]]`; `token_ids` is int32 [num_tokens],
    `cu_seqlens` int32 [num_sequences + 1] from 0 to num_tokens.
    """

    token_ids: Int32s
    cu_seqlens: Int32s

    @classmethod
    def pack(cls, sequences: Iterable[Sequence]) -> "PackedBatch":
        """Lay sequences end to end."""
        ids = [sequence.token_ids for sequence in sequences]
        cu_seqlens = np.zeros(len(ids) + 1, np.int32)
        np.cumsum([len(i) for i in ids], out=cu_seqlens[1:])
        return cls(np.concatenate(ids) if ids else np.empty(0, np.int32), cu_seqlens)

    @property
    def num_tokens(self) -> int:
        """Tokens in the batch."""
        return len(self.token_ids)

    @property
    def num_sequences(self) -> int:
        """Sequences in the batch."""
        return len(self.cu_seqlens) - 1


class Engine(Protocol):
    """Runs packed batches. One thread calls `run` at a time."""

    @property
    def description(self) -> str:
        """Backend, instruction set, dtype and threads, for the start log: `native amx_bf16 bfloat16 2 threads`."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens at once that keep the engine busy: fewer leave it idle, more only make all of a batch wait."""
        ...

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Vectors:
        """Run one batch.

        Returns float32: "pooled" gives [num_sequences, hidden_size], not normalized; "tokens" gives
        [num_tokens, hidden_size], the last layer's output. Raises EngineError.
        """
        ...
