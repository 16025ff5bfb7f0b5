"""Embedding in process: texts in, float32 vectors out, without a server. No backend here; the engine is passed.

Texts are tokenized a chunk ahead in a thread while the engine runs: both release the GIL.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import cast

import numpy as np

from openbei.batch import Engine, PackedBatch, Sequence, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import WrongTaskError
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.embed import check_dimensions, to_embeddings

BATCHES_AT_ONCE = 4
"""A batch holds the tokens of this many server batches, because latency does not matter here."""

Progress = Callable[[int], None]
"""Called with the number of texts done since the last call."""


class Embedder:
    """An embedding model in process.

    `max_batch_tokens` limits the tokens of a batch, except for a single text with more. `prompt` is prepended to each
    text. `num_truncated` counts texts truncated to the model's limit, `num_tokens` the tokens run by the engine.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        engine: Engine,
        *,
        width: int,
        normalize: bool,
        max_batch_tokens: int,
        prompt: str = "",
        dimensions: int | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._engine = engine
        self._width = width
        self._normalize = normalize
        self._max_batch_tokens = max_batch_tokens
        self._prompt = prompt
        self._dimensions = dimensions
        self.num_truncated = 0
        self.num_tokens = 0

    @classmethod
    def open(cls, engine_dir: EngineDir, engine: Engine, *, prompt_name: str | None = None) -> "Embedder":
        """An embedder for an engine directory, with the prompt `prompt_name`, or the default prompt for None.

        Raises WrongTaskError for a model without embeddings, InputError for an unknown prompt.
        """
        manifest = engine_dir.manifest
        if manifest.spec.task != "embedding":
            task = manifest.spec.task.replace("_", " ")
            raise WrongTaskError(
                f"{manifest.model_name} has the task {task}; it does not make embeddings",
                hint=f"serve it with `bei serve` and use {manifest.default_route}",
            )
        return cls(
            Tokenizer.open(engine_dir),
            engine,
            width=manifest.spec.output_width,
            normalize=manifest.normalize,
            max_batch_tokens=min(BATCHES_AT_ONCE * engine.batch_tokens, manifest.max_num_tokens),
            prompt=manifest.prompts.find(prompt_name),
            dimensions=manifest.dimensions,
        )

    def embed(
        self,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        truncate: bool = True,
        progress: Progress | None = None,
    ) -> Vectors:
        """Embed all texts; float32 [n, D] in their order, where D is `dimensions` or the model's own number."""
        chunks = list(self.embed_chunks(texts, dimensions=dimensions, truncate=truncate, progress=progress))
        return (
            np.concatenate(chunks)
            if chunks
            else np.empty((0, dimensions or self._dimensions or self._width), np.float32)
        )

    def embed_chunks(
        self,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        truncate: bool = True,
        chunk_size: int = 256,
        progress: Progress | None = None,
    ) -> Iterator[Vectors]:
        """Embed a stream of any length, `chunk_size` texts at a time, in order; float32 [chunk, dimensions].

        Raises InputError for `dimensions` out of range, and with `truncate=False` for a text that is too long.
        """
        check_dimensions(dimensions, self._width)
        source = iter(texts)
        with ThreadPoolExecutor(1, "tokenizer") as ahead:

            def tokenize_next() -> list[Sequence]:
                return self._tokenizer.encode(list(islice(source, chunk_size)), truncate=truncate, prompt=self._prompt)

            pending = ahead.submit(tokenize_next)
            while sequences := pending.result():
                pending = ahead.submit(tokenize_next)
                self.num_truncated += sum(sequence.is_truncated for sequence in sequences)
                self.num_tokens += sum(sequence.num_tokens for sequence in sequences)
                vectors = self._run(sequences, progress)
                yield to_embeddings(vectors, normalize=self._normalize, dimensions=dimensions or self._dimensions)

    def _run(self, sequences: list[Sequence], progress: Progress | None) -> Vectors:
        vectors = np.empty((len(sequences), self._width), np.float32)
        for indices in batches(sequences, self._max_batch_tokens):
            rows = self._engine.run(PackedBatch.pack([sequences[i] for i in indices]))
            vectors[indices] = cast(Vectors, rows)  # embedding models have dense outputs
            if progress:
                progress(len(indices))
        return vectors


def batches(sequences: list[Sequence], max_batch_tokens: int) -> Iterator[list[int]]:
    """Indices of sequences for each batch: longest first, so that the sequences of a batch have similar lengths."""
    batch: list[int] = []
    num_tokens = 0
    for index in sorted(range(len(sequences)), key=lambda i: -sequences[i].num_tokens):
        if batch and num_tokens + sequences[index].num_tokens > max_batch_tokens:
            yield batch
            batch, num_tokens = [], 0
        batch.append(index)
        num_tokens += sequences[index].num_tokens
    if batch:
        yield batch
