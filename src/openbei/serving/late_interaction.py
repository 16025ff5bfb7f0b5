"""How queries and documents of late interaction become sequences, and rows become vectors and scores."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from openbei.batch import Sequence, Vectors
from openbei.engine_dir import Manifest
from openbei.errors import InputError
from openbei.late_interaction import LateInteraction
from openbei.prompts import Prompts
from openbei.serving.task_inputs import Pairs
from openbei.serving.tokenizer import Tokenizer
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.late_interaction import max_sim, token_vectors


def side_prompt(prompts: Prompts, *, is_query: bool) -> str:
    """The prompt of queries or documents, or else the default one."""
    return prompts.for_input_type("search_query" if is_query else "search_document")


def encode_side(
    tokenizer: Tokenizer,
    late: LateInteraction,
    texts: list[str],
    truncation: TruncationOptions,
    *,
    is_query: bool,
    prompt: str,
    param: str,
) -> list[Sequence]:
    """A sequence for each query or document, with its marker; queries are expanded. Raises InputError."""
    marker = late.query_marker if is_query else late.document_marker
    length = late.query_length if is_query else late.document_length
    room = min(truncation["max_tokens"] or length, length) - (marker is not None)
    if room < 1:
        raise InputError("truncate_prompt_tokens is 1, which is the marker's", param="truncate_prompt_tokens")
    sequences = tokenizer.encode(
        texts,
        prompt=prompt,
        param=param,
        truncate=truncation["truncate"],
        direction=truncation["direction"],
        max_tokens=room,
    )
    if marker is not None:
        sequences = [_marked(sequence, marker) for sequence in sequences]
    return [_expanded(sequence, late) for sequence in sequences] if is_query else sequences


def _marked(sequence: Sequence, marker: int) -> Sequence:
    token_ids = np.insert(sequence.token_ids, 1, marker)
    return replace(sequence, token_ids=token_ids, num_tokens_given=sequence.num_tokens_given + 1)


def _expanded(sequence: Sequence, late: LateInteraction) -> Sequence:
    missing = late.expanded_length - sequence.num_tokens
    if late.expansion_id is None or missing <= 0:
        return sequence
    return replace(sequence, token_ids=np.pad(sequence.token_ids, (0, missing), constant_values=late.expansion_id))


class Relevance:
    """Pairs of queries and documents, each of which gets a score. Equal queries are one sequence."""

    def __init__(self, manifest: Manifest, late: LateInteraction, pairs: Pairs) -> None:
        self._late, self._is_mean = late, manifest.similarity == "meanmaxsim"
        self._queries = {query: i for i, query in enumerate(dict.fromkeys(query for query, _ in pairs))}
        self._pairs = pairs

    def encode(
        self, tokenizer: Tokenizer, prompts: Prompts, truncation: TruncationOptions, *, param: str
    ) -> list[Sequence]:
        """The sequences of the distinct queries, then of all documents; `param` is the field of the latter.

        Raises InputError.
        """
        documents = [text for _, text in self._pairs]
        return [
            sequence
            for texts, is_query in (([*self._queries], True), (documents, False))
            for sequence in encode_side(
                tokenizer,
                self._late,
                texts,
                truncation,
                is_query=is_query,
                prompt=side_prompt(prompts, is_query=is_query),
                param="query" if is_query else param,
            )
        ]

    def scores(self, rows: Iterable[Vectors], sequences: list[Sequence]) -> Vectors:
        """The score of each pair, float32 [n], from the rows of each sequence. Raises EngineError."""
        vectors = [
            token_vectors(part, sequence, self._late, is_query=i < len(self._queries))
            for i, (part, sequence) in enumerate(zip(rows, sequences, strict=True))
        ]
        both = zip((self._queries[query] for query, _ in self._pairs), vectors[len(self._queries) :], strict=True)
        return np.array([max_sim(vectors[query], text, is_mean=self._is_mean) for query, text in both], np.float32)
