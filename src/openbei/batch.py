"""The contract between what is above the engine and what is below: packed token ids in, float32 vectors out.

Above it nobody sees a tensor, below it nobody sees a request. numpy only.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openbei.device import Device

Int32s = NDArray[np.int32]
Vectors = NDArray[np.float32]

Output = Literal["pooled", "labels", "tokens"]
"""What a batch is run for.

pooled: a row for each sequence, the head's: an embedding, or the logits of a sequence classifier, or term weights.
labels: a row for each token, the logits of a token classifier. tokens: a row for each token, the last layer's output.
"""

ScoreActivation = Literal["sigmoid", "softmax", "none"]
"""What becomes of a classifier's logits: a sigmoid each, a softmax over all, or nothing, as of a regression."""

PER_TOKEN: frozenset[Output] = frozenset(("labels", "tokens"))
"""Outputs that have a row for each token."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One tokenized input.

    `token_ids` is int32 [n], n ≥ 1, special tokens included. `num_tokens_given` is the length before truncation.
    `type_ids` is int32 [n], or None where all are 0. The first `num_unpooled` tokens, but never all, are attended to
    and not pooled.
    """

    token_ids: Int32s
    num_tokens_given: int
    type_ids: Int32s | None = None
    num_unpooled: int = 0

    @property
    def num_tokens(self) -> int:
        """Tokens that the engine will read."""
        return len(self.token_ids)

    @property
    def is_truncated(self) -> bool:
        """Whether tokens were cut off."""
        return self.num_tokens_given > self.num_tokens

    def num_rows(self, output: Output) -> int:
        """Rows that the engine makes of it."""
        return self.num_tokens if output in PER_TOKEN else 1


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Sequences end to end, without padding.

    Sequence i is `token_ids[cu_seqlens[i]:cu_seqlens[i + 1]]`; `token_ids` is int32 [num_tokens], `cu_seqlens` int32
    [num_sequences + 1] from 0 to num_tokens, `type_ids` int32 [num_tokens] or None where all are 0. `num_unpooled` is
    int32 [num_sequences], how many of a sequence's first tokens are not pooled, or None where all are.
    """

    token_ids: Int32s
    cu_seqlens: Int32s
    type_ids: Int32s | None = None
    num_unpooled: Int32s | None = None

    @classmethod
    def pack(cls, sequences: Iterable[Sequence]) -> "PackedBatch":
        """Lay sequences end to end."""
        packed = list(sequences)
        ids = [sequence.token_ids for sequence in packed]
        cu_seqlens = np.zeros(len(ids) + 1, np.int32)
        np.cumsum([len(i) for i in ids], out=cu_seqlens[1:])
        types = None
        if any(sequence.type_ids is not None for sequence in packed):
            types = np.concatenate([np.zeros_like(s.token_ids) if s.type_ids is None else s.type_ids for s in packed])
        unpooled = np.array([sequence.num_unpooled for sequence in packed], np.int32)
        token_ids = np.concatenate(ids) if ids else np.empty(0, np.int32)
        return cls(token_ids, cu_seqlens, types, unpooled if unpooled.any() else None)

    @property
    def num_tokens(self) -> int:
        """Tokens in the batch."""
        return len(self.token_ids)

    @property
    def num_sequences(self) -> int:
        """Sequences in the batch."""
        return len(self.cu_seqlens) - 1

    def num_rows(self, output: Output) -> int:
        """Rows that the engine makes of it."""
        return self.num_tokens if output in PER_TOKEN else self.num_sequences

    def part(self, start: int, stop: int) -> "PackedBatch":
        """Sequences `start` to `stop`."""
        first, last = self.cu_seqlens[start], self.cu_seqlens[stop]
        types = None if self.type_ids is None else self.type_ids[first:last]
        unpooled = None if self.num_unpooled is None else self.num_unpooled[start:stop]
        return PackedBatch(self.token_ids[first:last], self.cu_seqlens[start : stop + 1] - first, types, unpooled)


@dataclass(frozen=True, slots=True)
class SparseVectors:
    """Rows of which most of the `width` columns are zero.

    Row i has `values[cu_terms[i]:cu_terms[i + 1]]` in the columns `indices[...]`, ascending. `indices` is int32,
    `values` float32, `cu_terms` int64 [rows + 1].
    """

    indices: Int32s
    values: Vectors
    cu_terms: NDArray[np.int64]
    width: int

    @classmethod
    def of(cls, dense: Vectors) -> "SparseVectors":
        """The positive numbers of float32 [rows, width]."""
        rows, columns = np.nonzero(dense > 0)
        return cls._of_places(rows, columns, dense[rows, columns], dense.shape)

    @classmethod
    def of_tokens(cls, batch: PackedBatch, weights: Vectors, width: int) -> "SparseVectors":
        """For each sequence its token ids, each once, with the `weights` [num_tokens] of theirs that are not zero."""
        sequences = np.repeat(np.arange(batch.num_sequences), np.diff(batch.cu_seqlens))
        places, first = np.unique(sequences * width + batch.token_ids, return_index=True)
        kept = weights[first] != 0
        rows, columns = np.divmod(places[kept], width)
        return cls._of_places(rows, columns, weights[first][kept], (batch.num_sequences, width))

    @classmethod
    def _of_places(
        cls, rows: NDArray[np.int64], columns: NDArray[np.int64], values: Vectors, shape: tuple[int, ...]
    ) -> "SparseVectors":
        """Numbers at ascending places of an array [rows, width]."""
        cu_terms = np.searchsorted(rows, np.arange(shape[0] + 1))
        return cls(columns.astype(np.int32), values, cu_terms.astype(np.int64), shape[1])

    def __len__(self) -> int:
        return len(self.cu_terms) - 1

    def __getitem__(self, rows: slice) -> "SparseVectors":
        start, stop, _ = rows.indices(len(self))
        first, last = self.cu_terms[start], self.cu_terms[stop]
        cu_terms = self.cu_terms[start : stop + 1] - first
        return SparseVectors(self.indices[first:last], self.values[first:last], cu_terms, self.width)


Rows = Vectors | SparseVectors
"""What an engine returns."""


def concatenate(parts: Items[Rows]) -> Rows:
    """Rows of several batches, all of one kind, one after the other. The only part comes back as it is."""
    if len(parts) == 1:
        return parts[0]
    sparse = [part for part in parts if isinstance(part, SparseVectors)]
    if not sparse:
        return np.concatenate([part for part in parts if not isinstance(part, SparseVectors)])
    starts = np.cumsum([0, *(part.cu_terms[-1] for part in sparse)])
    return SparseVectors(
        np.concatenate([part.indices for part in sparse]),
        np.concatenate([part.values for part in sparse]),
        np.concatenate([[0], *(part.cu_terms[1:] + start for part, start in zip(sparse, starts, strict=False))]),
        sparse[0].width,
    )


Finish = Callable[[], Rows]
"""Waits for a started batch and returns its `batch.num_rows(output)` rows.

They are float32 [rows, width], but the term weights of a SPLADE model are SparseVectors. Nothing is normalized; logits
are raw. Raises EngineError.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """What an engine is: its backend, what it runs on, and what its matrix products read.

    `isa` is the CPU's instruction set, None where the backend does not choose one, like `threads`.
    """

    backend: str
    device: Device
    precision: str
    isa: str | None = None
    threads: int | None = None

    def __str__(self) -> str:
        """For people: `native on cpu, amx_bf16, bfloat16, 2 threads`."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else None
        parts = (f"{self.backend} on {self.device}", self.isa, self.precision, threads)
        return ", ".join(part for part in parts if part)


class Engine(Protocol):
    """Runs packed batches. One thread calls it at a time."""

    @property
    def info(self) -> EngineInfo:
        """What it is."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens at once that keep the engine busy: fewer leave it idle, more only make all of a batch wait."""
        ...

    @property
    def max_in_flight(self) -> int:
        """Batches that may be started and not finished: 1 where they run on the caller's own processor."""
        ...

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        """Start a batch, and return what finishes it. Batches are finished in the order in which they were started.

        Raises EngineError, like finishing, also where the model's head does not make such an output.
        """
        ...

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """Start and finish one batch."""
        ...
