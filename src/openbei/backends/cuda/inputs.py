"""A batch as one int32 array that the host fills, and views of its copy on the device."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from openbei.absorbed import reads_one_row
from openbei.backends.cuda.ops import Queries
from openbei.backends.cuda.tiles import Bucket, attention_tiles
from openbei.backends.reference import trimmed_end
from openbei.batch import Int32s, PackedBatch
from openbei.spec import EmbeddingHead, LearnedPositions, ModelSpec, SequenceHead

ALIGNMENT = 4
"""Arrays start at multiples of this many elements, which are 16 bytes."""

EMBEDDING_ROWS = ("token_ids", "position_rows", "type_ids")
"""Rows of the embedding tables, in the order of `openbei.backends.cuda.layers.ModelWeights`."""

Places = tuple[tuple[str, int, tuple[int, ...]], ...]
"""Name, offset and shape of each array; equal for all batches of a bucket."""


@dataclass(frozen=True, slots=True)
class RowsRead:
    """The one row of each sequence that the head reads: its index, int32 [S], and the row as the only query."""

    rows: Tensor
    queries: Queries


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arrays of a batch on the device, int32.

    `embedding_rows` are the rows of those tables of tokens, positions and types that the model has, [T] each.
    `all_tokens` has every token as a query. `num_keys` is the number of tokens of each sequence that are attended to,
    [S], or None if all are. `read` is None if the head reads several rows of a sequence. Heads pool the
    rows `starts` to `ends`, [S].
    """

    embedding_rows: tuple[Tensor, ...]
    cu_seqlens: Tensor
    starts: Tensor
    ends: Tensor
    all_tokens: Queries
    num_keys: Tensor | None
    read: RowsRead | None


def host_arrays(spec: ModelSpec, batch: PackedBatch, block: int, bucket: Bucket | None = None) -> dict[str, Int32s]:
    """The arrays of a batch by name, padded to a bucket. Tiles have `block` queries each.

    Padding tokens have id 0 and position 0 and belong to no sequence; padding sequences are empty.
    """
    lengths = np.diff(batch.cu_seqlens)
    num_tokens = bucket.num_tokens if bucket else batch.num_tokens
    num_sequences = bucket.num_sequences if bucket else batch.num_sequences
    positions = np.arange(batch.num_tokens, dtype=np.int32) - np.repeat(batch.cu_seqlens[:-1], lengths)
    starts, ends = _pooled(spec, batch)
    tiles = attention_tiles(lengths, lengths, block, is_causal=spec.attention.is_causal)
    arrays = {
        "token_ids": _padded(batch.token_ids, num_tokens),
        "positions": _padded(positions, num_tokens),
        "cu_seqlens": _padded(batch.cu_seqlens, num_sequences + 1, batch.num_tokens),
        "starts": _padded(starts, num_sequences),
        "ends": _padded(ends, num_sequences),
        "zeros": np.zeros(num_sequences, np.int32),
        "tiles": _padded(tiles, bucket.num_tiles(block) if bucket else len(tiles), -1),
    }
    if spec.type_vocab_size:
        types = np.zeros_like(batch.token_ids) if batch.type_ids is None else batch.type_ids
        arrays["type_ids"] = _padded(types, num_tokens)
    if isinstance(spec.positions, LearnedPositions):
        arrays["position_rows"] = _padded(_position_rows(batch, spec.positions, lengths), num_tokens)
    if spec.unattended_id is not None:
        bounds = zip(batch.cu_seqlens[:-1].tolist(), batch.cu_seqlens[1:].tolist(), strict=True)
        num_keys = [trimmed_end(batch.token_ids, *each, spec.unattended_id) - each[0] for each in bounds]
        arrays["num_keys"] = _padded(np.array(num_keys, np.int32), num_sequences)
    if reads_one_row(spec):
        rows = _rows_read(spec, starts, ends)
        read_tiles = attention_tiles(np.ones_like(lengths), lengths, 1, is_causal=False)
        arrays |= {
            "read_rows": _padded(rows, num_sequences),
            "read_positions": _padded(rows - batch.cu_seqlens[:-1], num_sequences),
            "read_cu_queries": _padded(
                np.arange(batch.num_sequences + 1, dtype=np.int32), num_sequences + 1, batch.num_sequences
            ),
            "read_tiles": _padded(read_tiles, num_sequences, -1),
        }
    return arrays


def places_of(arrays: Mapping[str, Int32s]) -> tuple[Places, int]:
    """Where arrays are in one array, and its number of elements."""
    places, end = [], 0
    for name, array in arrays.items():
        places.append((name, end, array.shape))
        end += -(-array.size // ALIGNMENT) * ALIGNMENT
    return tuple(places), end


def fill(target: Int32s, arrays: Mapping[str, Int32s], places: Places) -> None:
    """Copy arrays to their places."""
    for name, offset, _ in places:
        target[offset : offset + arrays[name].size] = arrays[name].ravel()


def inputs_of(packed: Tensor, places: Places, block: int) -> Inputs:
    """Views of one array on the device, int32."""
    views = {name: packed[offset : offset + _size(shape)].view(shape) for name, offset, shape in places}
    all_tokens = Queries(
        cu_queries=views["cu_seqlens"],
        first=views["zeros"],
        tiles=views["tiles"],
        positions=views["positions"],
        block=block,
    )
    read = None
    if "read_rows" in views:
        queries = Queries(
            cu_queries=views["read_cu_queries"],
            first=views["read_positions"],
            tiles=views["read_tiles"],
            positions=views["read_positions"],
            block=1,
        )
        read = RowsRead(views["read_rows"], queries)
    return Inputs(
        embedding_rows=tuple(views[name] for name in EMBEDDING_ROWS if name in views),
        cu_seqlens=views["cu_seqlens"],
        starts=views["starts"],
        ends=views["ends"],
        all_tokens=all_tokens,
        num_keys=views.get("num_keys"),
        read=read,
    )


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def _padded(array: Int32s, length: int, value: int = 0) -> Int32s:
    """An array with rows of `value` appended, up to `length` rows."""
    padded = np.full((length, *array.shape[1:]), value, np.int32)
    padded[: len(array)] = array
    return padded


def _pooled(spec: ModelSpec, batch: PackedBatch) -> tuple[Int32s, Int32s]:
    """The first row of each sequence that is pooled, and the end, int32 [S] each."""
    starts, ends = batch.cu_seqlens[:-1], batch.cu_seqlens[1:]
    padding_id = spec.head.padding_id if isinstance(spec.head, SequenceHead) else None
    if padding_id is not None:
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        ends = np.array([trimmed_end(batch.token_ids, *each, padding_id) for each in bounds], np.int32)
    return starts if batch.num_excluded is None else starts + batch.num_excluded, ends


def _rows_read(spec: ModelSpec, starts: Int32s, ends: Int32s) -> Int32s:
    """The row of each sequence that a head with a single pooling reads, int32 [S]."""
    reads_first = isinstance(spec.head, EmbeddingHead) and spec.head.poolings == ("cls",)
    reads_first |= isinstance(spec.head, SequenceHead) and spec.head.pooling == "cls"
    return starts if reads_first else ends - 1


def _position_rows(batch: PackedBatch, positions: LearnedPositions, lengths: Int32s) -> Int32s:
    """Rows of the position table, int32 [T]; as `openbei.backends.positions.position_rows` for each sequence."""
    is_counted = batch.token_ids != (-1 if positions.padding_id is None else positions.padding_id)
    counts = np.cumsum(is_counted)
    before = np.repeat(np.concatenate([[0], counts])[batch.cu_seqlens[:-1]], lengths)
    rows: Int32s = ((counts - before) * is_counted - 1 + positions.first).astype(np.int32)
    return rows
