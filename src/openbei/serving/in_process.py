"""Running many inputs in this process, without a queue: for throughput, not for latency.

Inputs are tokenized a chunk ahead in a thread while the engine runs: both release the GIL. Equal inputs of a chunk are
computed once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from openbei.batch import Output, PackedBatch, Rows, Sequence
from openbei.errors import InputError
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.result_key import Key, rows_by_key

T = TypeVar("T")

BATCHES_AT_ONCE = 4
"""A batch holds the tokens of this many server batches, because latency does not matter here."""

CHUNK_SIZE = 256
"""Inputs that are tokenized together."""

Progress = Callable[[int], None]
"""Called with the number of inputs done since the last call."""


def run_chunks(
    model: LoadedModel,
    items: Iterable[T],
    encode: Callable[[list[T]], list[Sequence]],
    output: Output = "pooled",
    *,
    batch_tokens: int | None = None,
    chunk_size: int = CHUNK_SIZE,
    progress: Progress | None = None,
) -> Iterator[tuple[list[Sequence], list[Rows]]]:
    """The sequences of `chunk_size` items at a time, and the engine's rows for each of them, in order.

    A batch has at most `batch_tokens` tokens, except for a single sequence with more. Raises InputError for
    `batch_tokens` below 1, what `encode` raises, and EngineError.
    """
    if batch_tokens is not None and batch_tokens < 1:
        raise InputError(f"batch_tokens is {batch_tokens}; it must be at least 1", param="batch_tokens")
    encoded = map(encode, _chunked(items, chunk_size))
    is_one_chunk = isinstance(items, Sized) and len(items) <= chunk_size
    for sequences in encoded if is_one_chunk else _one_ahead(encoded):
        yield sequences, _rows(model, sequences, output, batch_tokens, progress)


def _chunked(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items of an iterator, each of which is computed in a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "tokenizer") as thread:
        pending = thread.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = thread.submit(next, items, None)
            yield item


def _rows(
    model: LoadedModel, sequences: list[Sequence], output: Output, batch_tokens: int | None, progress: Progress | None
) -> list[Rows]:
    engine = model.engine
    most = min(batch_tokens or BATCHES_AT_ONCE * engine.batch_tokens, model.manifest.max_num_tokens)
    keys = [Key.of(sequence, output) for sequence in sequences]
    counts, distinct = Counter(keys), dict(zip(keys, sequences, strict=True))
    results: dict[Key, Rows] = {}
    for batch in batches(distinct, most):
        part = {key: distinct[key] for key in batch}
        packed = PackedBatch.pack(part.values())
        with model.lock:
            rows = engine.run(packed, output)
        results |= rows_by_key(part, rows)
        if progress:
            progress(sum(counts[key] for key in batch))
    return [results[key] for key in keys]


def batches(sequences: Mapping[Key, Sequence], max_batch_tokens: int) -> Iterator[list[Key]]:
    """The keys of each batch: the longest sequences first, so that a batch has sequences of similar lengths."""
    batch: list[Key] = []
    num_tokens = 0
    for key in sorted(sequences, key=lambda key: -sequences[key].num_tokens):
        if batch and num_tokens + sequences[key].num_tokens > max_batch_tokens:
            yield batch
            batch, num_tokens = [], 0
        batch.append(key)
        num_tokens += sequences[key].num_tokens
    if batch:
        yield batch
