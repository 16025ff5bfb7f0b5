"""The interface of engines: packed token ids in, float32 vectors out.

The code that calls engines does not see tensors; engines do not see requests. Depends on numpy only.
"""

from collections.abc import Callable, Iterable
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from openbei.device import Device
from openbei.spec import Head, TokenEmbeddingHead, TokenHead

Int32s = NDArray[np.int32]
Vectors = NDArray[np.float32]

Output = Literal["pooled", "labels", "vectors", "tokens"]
"""The requested output of a batch.

pooled: one row per sequence, the output of the head: embeddings, the logits of a sequence classifier, or term weights.
labels: one row per token, the logits of a token classifier. vectors: one row per token, the vectors of late
interaction. tokens: one row per token, the output of the last layer.
"""

ScoreActivation = Literal["sigmoid", "softmax", "none"]
"""The activation of a classifier's logits; none for regression."""

PER_TOKEN: frozenset[Output] = frozenset(("labels", "vectors", "tokens"))
"""Outputs with one row per token."""


def head_output(head: Head) -> Output:
    """The output of a head."""
    match head:
        case TokenHead():
            return "labels"
        case TokenEmbeddingHead():
            return "vectors"
    return "pooled"


@dataclass(frozen=True, slots=True)
class Sequence:
    """One tokenized input.

    `token_ids` is int32 [n], n ≥ 1, including special tokens. `num_tokens_given` is the length before truncation.
    `type_ids` is int32 [n], or None if all are 0. The first `num_excluded` < n tokens, those of a prompt, are excluded
    from pooling.
    """

    token_ids: Int32s
    num_tokens_given: int
    type_ids: Int32s | None = None
    num_excluded: int = 0

    @property
    def num_tokens(self) -> int:
        """Number of tokens after truncation."""
        return len(self.token_ids)

    @property
    def is_truncated(self) -> bool:
        """Whether tokens were removed."""
        return self.num_tokens_given > self.num_tokens

    def num_rows(self, output: Output) -> int:
        """Number of rows of the output."""
        return self.num_tokens if output in PER_TOKEN else 1


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Concatenated sequences, without padding.

    Sequence i is `token_ids[cu_seqlens[i]:cu_seqlens[i + 1]]`. `token_ids` is int32 [num_tokens], `cu_seqlens` int32
    [num_sequences + 1] from 0 to num_tokens, `type_ids` int32 [num_tokens], or None if all are 0. `num_excluded`, int32
    [num_sequences], is the number of tokens at the start of each sequence that are excluded from pooling; None if all
    are 0.
    """

    token_ids: Int32s
    cu_seqlens: Int32s
    type_ids: Int32s | None = None
    num_excluded: Int32s | None = None

    @classmethod
    def pack(cls, sequences: Iterable[Sequence]) -> "PackedBatch":
        """Concatenate sequences."""
        packed = list(sequences)
        ids = [sequence.token_ids for sequence in packed]
        cu_seqlens = np.zeros(len(ids) + 1, np.int32)
        np.cumsum([len(i) for i in ids], out=cu_seqlens[1:])
        types = None
        if any(sequence.type_ids is not None for sequence in packed):
            types = np.concatenate([np.zeros_like(s.token_ids) if s.type_ids is None else s.type_ids for s in packed])
        excluded = np.array([sequence.num_excluded for sequence in packed], np.int32)
        token_ids = np.concatenate(ids) if ids else np.empty(0, np.int32)
        return cls(token_ids, cu_seqlens, types, excluded if excluded.any() else None)

    @property
    def num_tokens(self) -> int:
        """Number of tokens."""
        return len(self.token_ids)

    @property
    def num_sequences(self) -> int:
        """Number of sequences."""
        return len(self.cu_seqlens) - 1

    def num_rows(self, output: Output) -> int:
        """Number of rows of the output."""
        return self.num_tokens if output in PER_TOKEN else self.num_sequences

    def part(self, start: int, stop: int) -> "PackedBatch":
        """The sequences from `start` to `stop`, exclusive."""
        first, last = self.cu_seqlens[start], self.cu_seqlens[stop]
        types = None if self.type_ids is None else self.type_ids[first:last]
        excluded = None if self.num_excluded is None else self.num_excluded[start:stop]
        return PackedBatch(self.token_ids[first:last], self.cu_seqlens[start : stop + 1] - first, types, excluded)


@dataclass(frozen=True, slots=True)
class SparseVectors:
    """A sparse matrix [rows, width] in CSR format.

    Row i has `values[cu_terms[i]:cu_terms[i + 1]]` in the ascending columns `indices[...]`. `indices` is int32,
    `values` float32, `cu_terms` int64 [rows + 1].
    """

    indices: Int32s
    values: Vectors
    cu_terms: NDArray[np.int64]
    width: int

    @classmethod
    def of(cls, dense: Vectors) -> "SparseVectors":
        """The positive values of float32 [rows, width]."""
        rows, columns = np.nonzero(dense > 0)
        return cls._from_coordinates(rows, columns, dense[rows, columns], dense.shape)

    @classmethod
    def of_tokens(cls, batch: PackedBatch, weights: Vectors, width: int) -> "SparseVectors":
        """The distinct token ids of each sequence, with their `weights` [num_tokens], unless these are zero."""
        sequences = np.repeat(np.arange(batch.num_sequences), np.diff(batch.cu_seqlens))
        positions, first = np.unique(sequences * width + batch.token_ids, return_index=True)
        is_nonzero = weights[first] != 0
        rows, columns = np.divmod(positions[is_nonzero], width)
        return cls._from_coordinates(rows, columns, weights[first][is_nonzero], (batch.num_sequences, width))

    @classmethod
    def _from_coordinates(
        cls, rows: NDArray[np.int64], columns: NDArray[np.int64], values: Vectors, shape: tuple[int, ...]
    ) -> "SparseVectors":
        """Values at coordinates of an array [rows, width], in row-major order."""
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
"""The output of an engine."""


def concatenate(parts: Items[Rows]) -> Rows:
    """Concatenate the rows of several batches, all dense or all sparse. A single part is returned unchanged."""
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

They are float32 [rows, width], or SparseVectors for term weights. Embeddings are not normalized and logits have no
activation. Raises EngineError.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineInfo:
    """The backend of an engine, its device, and the number format of its matrix products.

    `isa` is the CPU instruction set or the name of the GPU, `index` the number of the GPU, and `threads` the number of
    threads; None if the backend does not choose them.
    """

    backend: str
    device: Device
    precision: str
    isa: str | None = None
    index: int | None = None
    threads: int | None = None

    @property
    def place(self) -> str:
        """The device, and which of several: `cpu`, or `cuda:1`."""
        return self.device if self.index is None else f"{self.device}:{self.index}"

    def __str__(self) -> str:
        """For logs: `native on cpu, amx_bf16, bfloat16, 2 threads`."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else None
        parts = (f"{self.backend} on {self.place}", self.isa, self.precision, threads)
        return ", ".join(part for part in parts if part)


class Engine(Protocol):
    """Runs packed batches. Not thread-safe: only one thread may call it at a time."""

    @property
    def info(self) -> EngineInfo:
        """A description of the engine."""
        ...

    @property
    def batch_tokens(self) -> int:
        """The smallest number of tokens per batch for full throughput. Larger batches only increase latency."""
        ...

    @property
    def max_in_flight(self) -> int:
        """The maximum number of batches that are started but not finished; 1 on a CPU."""
        ...

    def wake(self) -> None:
        """Wake threads that sleep, for a batch that is about to come."""
        ...

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        """Start a batch and return the function that finishes it. Batches are finished in the order of their start.

        Both raise EngineError, also if the model's head does not support `output`.
        """
        ...

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """Start and finish one batch."""
        ...
