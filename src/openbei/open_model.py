"""A model in this process, with a method for each operation of the tasks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

import numpy as np

from openbei.batch import Engine, Output, Rows, Sequence, SparseVectors, Vectors, concatenate
from openbei.engine_dir import EngineDir
from openbei.errors import InputError
from openbei.methods import EmbeddedChunk, Ranked, require
from openbei.progress import Watch, watch
from openbei.serving.in_process import CHUNK_SIZE, run_chunks
from openbei.serving.late_interaction import Relevance, encode_side, side_prompt
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.task_inputs import Pairs, check_instruction, encode_items, encode_relevance
from openbei.serving.tokenizer import Tokenizer
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.classify import Label, apply_activation, sorted_labels
from openbei.tasks.embed import check_dimensions, to_embeddings
from openbei.tasks.finite import check_finite
from openbei.tasks.late_interaction import token_vectors
from openbei.tasks.rerank import relevance
from openbei.tasks.sparse import terms
from openbei.tasks.tokens import Entity, Strategy, TokenizedText, entities

T = TypeVar("T")


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
        check_dimensions(dimensions, self.manifest.spec.output_width)
        size = dimensions or self.manifest.dimensions
        normalizes = self.manifest.normalize if normalize is None else normalize
        encode = self._encoder(prompt, prompt_name, truncate)
        ran = self._run("embed", texts, encode, batch_tokens=batch_tokens, progress=progress, chunk_size=chunk_size)
        for sequences, rows in ran:
            yield EmbeddedChunk(
                to_embeddings(_dense(rows), normalize=normalizes, dimensions=size),
                sum(sequence.num_tokens for sequence in sequences),
                sum(sequence.is_truncated for sequence in sequences),
            )

    def token_embeddings(
        self,
        texts: Iterable[str],
        *,
        is_query: bool = False,
        prompt: str | None = None,
        prompt_name: str | None = None,
        truncate: bool = True,
        batch_tokens: int | None = None,
        progress: Watch = None,
    ) -> list[Vectors]:
        """The vectors of the tokens of each text, float32 [tokens, D].

        Of an embedding model, these are the last layer's rows, special tokens included. Of a late-interaction model,
        they are the vectors of queries if `is_query`, else of documents.
        """
        require(self.manifest, "token_embeddings")
        late = self.manifest.late_interaction
        if is_query and late is None:
            raise InputError("is_query is true; this model has the same vectors for all texts", param="is_query")
        encode = self._encoder(prompt, prompt_name, truncate, is_query=is_query)
        output: Output = "vectors" if late else "tokens"
        result: list[Vectors] = []
        for sequences, rows in self._run("embed", texts, encode, output, batch_tokens=batch_tokens, progress=progress):
            for sequence, part in zip(sequences, cast(list[Vectors], rows), strict=True):
                check_finite(part)
                result.append(token_vectors(part, sequence, late, is_query=is_query) if late else part)
        return result

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
        encode = self._encoder(prompt, prompt_name, truncate)
        result: list[dict[int, float]] = []
        for _, rows in self._run("embed", texts, encode, batch_tokens=batch_tokens, progress=progress):
            weights = cast(SparseVectors, concatenate(rows))
            check_finite(weights.values)
            kept = terms(weights, max_terms=self.manifest.max_terms, double_log=self.manifest.double_log)
            result += map(dict, kept)
        return result

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
        check_instruction(self.manifest, instruction)
        template, prompt, late = self.manifest.score_template, self.prompts.find(None), self.manifest.late_interaction
        is_raw = raw_scores or self.manifest.activation == "none"
        chunks: deque[Relevance] = deque()

        def encode(chunk: Pairs) -> list[Sequence]:
            options = _options(truncate)
            if late:
                chunks.append(Relevance(self.manifest, late, chunk))
                return chunks[-1].encode(self.tokenizer, self.prompts, options, param="pairs")
            return encode_relevance(
                self.tokenizer, template, chunk, options, prompt=prompt, instruction=instruction, param="pairs"
            )

        scores = [np.empty(0, np.float32)]
        output: Output = "vectors" if late else "pooled"
        shown = False if late else progress  # a pair of late interaction is not one sequence
        with watch("score", pairs, progress if late else False) as advance:
            for sequences, rows in self._run("score", pairs, encode, output, batch_tokens=batch_tokens, progress=shown):
                if late:
                    scores.append(chunks.popleft().scores(cast(list[Vectors], rows), sequences))
                    advance(len(scores[-1]))
                else:
                    scores.append(relevance(_dense(rows), template, is_raw))
        return np.concatenate(scores)

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
        activation = "none" if raw_scores else self.manifest.activation

        def encode(chunk: list[str | tuple[str, str]]) -> list[Sequence]:
            items = [[item] if isinstance(item, str) else [*item] for item in chunk]
            return encode_items(self.tokenizer, items, _options(truncate), param="texts")

        result: list[list[Label]] = []
        for _, rows in self._run("classify", texts, encode, batch_tokens=batch_tokens, progress=progress):
            scores = apply_activation(_dense(rows), activation)
            result += [sorted_labels(self.manifest.labels, row) for row in scores]
        return result

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
        tokenized: deque[TokenizedText] = deque()

        def encode(chunk: list[str]) -> list[Sequence]:
            encoded = self.tokenizer.encode_texts_for_labels(chunk, param="texts", **_options(truncate))
            tokenized.extend(encoded)
            return [text.sequence for text in encoded]

        result: list[list[Entity]] = []
        for _, rows in self._run("classify", texts, encode, "labels", batch_tokens=batch_tokens, progress=progress):
            for logits in cast(list[Vectors], rows):
                text = tokenized.popleft()
                result.append(entities(text, logits, self.manifest.labels, aggregation, raw_scores=raw_scores))
        return result

    def _encoder(
        self, prompt: str | None, prompt_name: str | None, truncate: bool, *, is_query: bool = False
    ) -> Callable[[list[str]], list[Sequence]]:
        """A function that tokenizes texts with a prompt. Raises InputError."""
        if prompt is not None and prompt_name is not None:
            raise InputError("prompt and prompt_name are set; each selects a prompt", param="prompt", hint="pass one")
        late, tokenizer = self.manifest.late_interaction, self.tokenizer
        if late and prompt is None and prompt_name is None:
            prompt = side_prompt(self.prompts, is_query=is_query)
        prefix = self.prompts.find(prompt_name) if prompt is None else prompt
        if late:
            return lambda chunk: encode_side(
                tokenizer, late, chunk, _options(truncate), is_query=is_query, prompt=prefix, param="texts"
            )
        return lambda chunk: self.tokenizer.encode(chunk, prompt=prefix, param="texts", **_options(truncate))

    def _run(
        self,
        step: str,
        items: Iterable[T],
        encode: Callable[[list[T]], list[Sequence]],
        output: Output = "pooled",
        *,
        batch_tokens: int | None,
        progress: Watch,
        chunk_size: int = CHUNK_SIZE,
    ) -> Iterator[tuple[list[Sequence], list[Rows]]]:
        """`run_chunks`, with a progress bar for `step`."""
        _not_one_text(items, "texts")
        with watch(step, items, progress) as advance:
            yield from run_chunks(
                self, items, encode, output, batch_tokens=batch_tokens, chunk_size=chunk_size, progress=advance
            )


def _options(truncate: bool) -> TruncationOptions:
    return {"truncate": truncate, "direction": None, "max_tokens": None}


def _dense(rows: list[Rows]) -> Vectors:
    return cast(Vectors, concatenate(rows))


def _not_one_text(items: Iterable[T], param: str) -> Iterable[T]:
    """Raise InputError for a single text, because each of its characters would count as a text."""
    if isinstance(items, str):
        raise InputError(f"{param} is a str; it must be a list or another iterable", param=param, hint="pass [text]")
    return items
