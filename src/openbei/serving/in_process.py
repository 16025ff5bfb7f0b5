"""Running many inputs in this process, without a queue: for throughput, not for latency.

Inputs are tokenized and packed a chunk ahead in a thread while the engine runs: both release the GIL. Equal inputs of a
chunk are computed once.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from openbei.batch import Output, PackedBatch, Rows, Sequence
from openbei.errors import InputError
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.result_key import Key, rows_by_key

T = TypeVar("T")
C = TypeVar("C")

BATCHES_AT_ONCE = 4
"""A batch holds the tokens of this many server batches, because latency does not matter here."""

CHUNK_SIZE = 256
"""Inputs that are tokenized together."""

Progress = Callable[[int], None]
"""Called with the number of inputs done since the last call."""


@dataclass(frozen=True, slots=True)
class _Prepared(Generic[C]):
    """A chunk, its sequences with their keys, and the batches of the distinct sequences."""

    chunk: C
    sequences: list[Sequence]
    keys: list[Key]
    batches: list[tuple[dict[Key, Sequence], PackedBatch]]


def chunked(items: Iterable[T], size: int) -> Iterable[list[T]]:
    """The items in lists of `size`; a list of lists if that is a single one, else an iterator."""
    if isinstance(items, Sized) and len(items) <= size:
        return [list(items)] if len(items) else []
    remaining = iter(items)
    return iter(lambda: list(islice(remaining, size)), [])


def run_chunks(
    model: LoadedModel,
    chunks: Iterable[C],
    encode: Callable[[C], list[Sequence]],
    output: Output = "pooled",
    *,
    count: Callable[[C], int],
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[C, list[Sequence], list[Rows]]]:
    """Each chunk with its sequences, and the engine's rows for each of them, in order.

    `count` returns the number of inputs in a chunk, for `progress`. A batch has at most `batch_tokens` tokens, except
    for a single sequence with more. Raises InputError for `batch_tokens` below 1, EngineError, and what `encode` does.
    """
    if batch_tokens is not None and batch_tokens < 1:
        raise InputError(f"batch_tokens is {batch_tokens}; it must be at least 1", param="batch_tokens")
    most = min(batch_tokens or BATCHES_AT_ONCE * model.engine.batch_tokens, model.manifest.max_num_tokens)

    def prepare(chunk: C) -> _Prepared[C]:
        sequences = encode(chunk)
        keys = [Key.of(sequence, output) for sequence in sequences]
        distinct = dict(zip(keys, sequences, strict=True))
        parts = [{key: distinct[key] for key in batch} for batch in batches(distinct, most)]
        return _Prepared(chunk, sequences, keys, [(part, PackedBatch.pack(part.values())) for part in parts])

    is_one_chunk = isinstance(chunks, Sized) and len(chunks) <= 1
    prepared = map(prepare, chunks)
    for ready in prepared if is_one_chunk else _one_ahead(prepared):
        yield ready.chunk, ready.sequences, _rows(model, ready, output, count(ready.chunk), progress)


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items of an iterator, each of which is computed in a thread while the one before it is used."""
    with ThreadPoolExecutor(1, "tokenizer") as thread:
        pending = thread.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = thread.submit(next, items, None)
            yield item


def _rows(
    model: LoadedModel, ready: _Prepared[C], output: Output, num_inputs: int, progress: Progress | None
) -> list[Rows]:
    """The rows of each sequence. Inputs count as done in the same share as sequences."""
    counts = Counter(ready.keys)
    results: dict[Key, Rows] = {}
    num_sequences_done = num_inputs_done = 0

    def advance(done: int) -> None:
        nonlocal num_inputs_done
        if progress and done > num_inputs_done:
            progress(done - num_inputs_done)
        num_inputs_done = done

    for part, packed in ready.batches:
        with model.lock:
            rows = model.engine.run(packed, output)
        results |= rows_by_key(part, rows)
        num_sequences_done += sum(counts[key] for key in part)
        advance(num_inputs * num_sequences_done // len(ready.keys))
    advance(num_inputs)  # also inputs without sequences
    return [results[key] for key in ready.keys]


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
