"""A model in this process, with a method for each operation of the tasks."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeVar, cast

import numpy as np

from openbei.batch import Engine, Sequence, Vectors
from openbei.engine_dir import EngineDir
from openbei.errors import InputError
from openbei.methods import EmbeddedChunk, Ranked, require
from openbei.progress import Watch, watch
from openbei.serving import operations
from openbei.serving.in_process import CHUNK_SIZE, chunked, run_chunks
from openbei.serving.late_interaction import side_prompt
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.operations import Operation
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.classify import Label, sorted_labels
from openbei.tasks.tokens import Entity, Strategy

T = TypeVar("T")
R = TypeVar("R")


class OpenModel(LoadedModel):
    """A model that runs an open engine directory on a loaded engine. Raises EngineDirError.

    Methods take any iterable of texts, and return results in its order. `truncate=False` raises InputError for a text
    that is too long. `batch_tokens` limits the tokens of a batch, except for a single text with more. `progress` shows
    a bar on standard error, by default if that is a terminal; it may also be a function that is called with the number
    of texts done since its last call.

    Methods raise InputError; WrongTaskError if the model does not support them; EngineError; and UnavailableError
    after `close`.
    """

    def __init__(self, engine_dir: EngineDir, engine: Engine) -> None:
        super().__init__(engine_dir.manifest, Tokenizer.open(engine_dir), engine)

    def embed(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> Vectors:
        """Embeddings float32 [n, D], where D is `dimensions`, or else the model's own number.

        `prompt` is put before each text; `prompt_name` selects one of the model's prompts; without either, the model's
        default prompt applies. `normalize` None normalizes if the model does, as in sentence-transformers.
        """
        chunks = self.embed_chunks(
            texts,
            prompt=prompt,
            prompt_name=prompt_name,
            dimensions=dimensions,
            normalize=normalize,
            truncate=truncate,
            batch_tokens=batch_tokens,
            progress=progress,
        )
        vectors = [chunk.vectors for chunk in chunks]
        width = dimensions or self.manifest.dimensions or self.manifest.spec.output_width
        return np.concatenate(vectors) if vectors else np.empty((0, width), np.float32)

    def embed_query(self, text: str, *, dimensions: int | None = None, truncate: bool = True) -> Vectors:
        """The embedding of a query, float32 [D], with the model's prompt for queries, or else its default prompt."""
        prompt = self.prompts.for_input_type("search_query")
        [vector] = self.embed([text], prompt=prompt, dimensions=dimensions, truncate=truncate, progress=False)
        return cast(Vectors, vector)

    def embed_documents(
        self,
        texts: Iterable[str],
        *,
        dimensions: int | None = None,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> Vectors:
        """Embeddings of documents, float32 [n, D], with the model's prompt for documents, or else its default one."""
        return self.embed(
            texts,
            prompt=self.prompts.for_input_type("search_document"),
            dimensions=dimensions,
            truncate=truncate,
            batch_tokens=batch_tokens,
            progress=progress,
        )

    def embed_chunks(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        dimensions: int | None = None,
        normalize: bool | None = None,
        truncate: bool = True,
        batch_tokens: int | None = None,
        chunk_size: int = CHUNK_SIZE,
        progress: Watch = None,
    ) -> Iterator[EmbeddedChunk]:
        """As `embed`, for a stream of any length: yields the embeddings of `chunk_size` texts at a time.

        The stream is read one chunk ahead, in a thread.
        """
        require(self.manifest, "embed")
        operation = operations.embed(
            self,
            prompt=self._prompt(prompt, prompt_name),
            dimensions=dimensions,
            normalize=normalize,
            truncate=truncate,
        )
        ran = self._run("embed", texts, operation, batch_tokens=batch_tokens, progress=progress, chunk_size=chunk_size)
        for sequences, vectors in ran:
            yield EmbeddedChunk(
                vectors,
                sum(sequence.num_tokens for sequence in sequences),
                sum(sequence.is_truncated for sequence in sequences),
            )

    def token_embeddings(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        is_query: bool = False,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> list[Vectors]:
        """The vectors of the tokens of each text, float32 [tokens, D].

        Of an embedding model, these are the last layer's rows, special tokens included. Of a late-interaction model,
        they are the vectors of queries if `is_query`, else of documents.
        """
        require(self.manifest, "token_embeddings")
        operation = operations.token_embeddings(
            self, prompt=self._prompt(prompt, prompt_name, is_query=is_query), truncate=truncate, is_query=is_query
        )
        return self._all("embed", texts, operation, batch_tokens, progress)

    def sparse(
        self,
        texts: Iterable[str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> list[dict[int, float]]:
        """For each text, the weights that are not 0, by token id, in ascending order of the ids."""
        require(self.manifest, "sparse")
        operation = operations.sparse(self, prompt=self._prompt(prompt, prompt_name), truncate=truncate)
        return [dict(terms) for terms in self._all("embed", texts, operation, batch_tokens, progress)]

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        instruction: str | None = None,
        raw_scores: bool = False,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> list[Ranked]:
        """The `top_n` documents (None: all) by relevance to a query, best first. Equal scores keep their order.

        See `score`.
        """
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n is {top_n}; it must be at least 1", param="top_n")
        texts = [*_not_one_text(documents, "documents")]
        scores = self.score(
            [(query, text) for text in texts],
            instruction=instruction,
            raw_scores=raw_scores,
            truncate=truncate,
            batch_tokens=batch_tokens,
            progress=progress,
        )
        order = np.argsort(-scores, kind="stable")[:top_n].tolist()
        return [Ranked(index, float(scores[index]), texts[index]) for index in order]

    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        instruction: str | None = None,
        raw_scores: bool = False,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> Vectors:
        """The relevance of a text to a query for each pair, float32 [n]: a probability, or a logit with `raw_scores`.

        Of a late-interaction model, it is MaxSim. `instruction` replaces that of the model's score template.
        """
        require(self.manifest, "score")
        operation = operations.score(self, instruction=instruction, raw_scores=raw_scores, truncate=truncate)
        ran = self._run("score", pairs, operation, batch_tokens=batch_tokens, progress=progress)
        return np.concatenate([np.empty(0, np.float32), *(scores for _, scores in ran)])

    def classify(
        self,
        texts: Iterable[str | tuple[str, str]],
        *,
        raw_scores: bool = False,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> list[list[Label]]:
        """The labels of each text or pair of texts, best first, with probabilities, or logits with `raw_scores`."""
        require(self.manifest, "classify")
        operation = operations.classify(self, raw_scores=raw_scores, truncate=truncate)
        rows = self._all("classify", texts, operation, batch_tokens, progress)
        return [sorted_labels(self.manifest.labels, row) for row in rows]

    def entities(
        self,
        texts: Iterable[str],
        *,
        aggregation: Strategy = "simple",
        raw_scores: bool = False,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> list[list[Entity]]:
        """The named entities of each text, in order; with `aggregation` "none", a label for each token instead."""
        require(self.manifest, "entities")
        operation = operations.find_entities(self, aggregation=aggregation, raw_scores=raw_scores, truncate=truncate)
        return self._all("classify", texts, operation, batch_tokens, progress)

    def _prompt(self, prompt: str | None, prompt_name: str | None, *, is_query: bool = False) -> str:
        """The prompt that was passed, by itself or by its name, or else the default one. Raises InputError."""
        if prompt is not None and prompt_name is not None:
            raise InputError("prompt and prompt_name are set; each selects a prompt", param="prompt", hint="pass one")
        if self.manifest.late_interaction and prompt is None and prompt_name is None:
            return side_prompt(self.prompts, is_query=is_query)
        return self.prompts.find(prompt_name) if prompt is None else prompt

    def _all(
        self,
        step: str,
        items: Iterable[T],
        operation: Operation[T, Iterable[R]],
        batch_tokens: int | None,
        progress: Watch,
    ) -> list[R]:
        """The results of all items."""
        ran = self._run(step, items, operation, batch_tokens=batch_tokens, progress=progress)
        return [*chain.from_iterable(results for _, results in ran)]

    def _run(
        self,
        step: str,
        items: Iterable[T],
        operation: Operation[T, R],
        *,
        batch_tokens: int | None,
        progress: Watch,
        chunk_size: int = CHUNK_SIZE,
    ) -> Iterator[tuple[list[Sequence], R]]:
        """The sequences and results of `chunk_size` items at a time, with a progress bar for `step`."""
        chunks = chunked(_not_one_text(items, "texts"), chunk_size)
        with watch(step, items, progress) as advance:
            ran = run_chunks(
                self,
                chunks,
                operation.encode,
                operation.output,
                count=len,
                batch_tokens=batch_tokens,
                progress=advance,
            )
            for _, sequences, rows in ran:
                yield sequences, operation.finish(rows)


def _not_one_text(items: Iterable[T], param: str) -> Iterable[T]:
    """Raise InputError for a single text, because each of its characters would count as a text."""
    if isinstance(items, str):
        raise InputError(f"{param} is a str; it must be a list or another iterable", param=param, hint="pass [text]")
    return items
