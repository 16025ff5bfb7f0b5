"""The operations of models over many inputs: how these become sequences, and how the engine's rows become results.

Each takes a loaded model that supports it, and raises InputError for options that the model does not have.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from openbei.batch import Output, Rows, Sequence, SparseVectors, Vectors, concatenate
from openbei.errors import InputError
from openbei.late_interaction import LateInteraction
from openbei.serving.late_interaction import Relevance, encode_side
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.task_inputs import Pairs, check_instruction, encode_items, encode_relevance
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.classify import apply_activation
from openbei.tasks.embed import check_dimensions, to_embeddings
from openbei.tasks.finite import check_finite
from openbei.tasks.late_interaction import token_vectors
from openbei.tasks.rerank import relevance
from openbei.tasks.sparse import terms
from openbei.tasks.tokens import Entity, Strategy, TokenizedText, entities

T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Operation(Generic[T, R_co]):
    """`encode` returns a sequence for each input; `finish` the results of the engine's rows for them.

    They are called once for each chunk of inputs, in the same order, but perhaps by different threads. Pairs of late
    interaction have a sequence for each query and document instead.
    """

    encode: Callable[[list[T]], list[Sequence]]
    finish: Callable[[list[Rows]], R_co]
    output: Output = "pooled"


def embed(
    model: LoadedModel, *, prompt: str, dimensions: int | None, normalize: bool | None, truncate: bool
) -> Operation[str, Vectors]:
    """Embeddings float32 [n, D] of texts."""
    check_dimensions(dimensions, model.manifest.spec.output_width)
    size = dimensions or model.manifest.dimensions
    normalizes = model.manifest.normalize if normalize is None else normalize
    return Operation(
        _encoder(model, prompt, truncate),
        lambda rows: to_embeddings(_dense(rows), normalize=normalizes, dimensions=size),
    )


def token_embeddings(
    model: LoadedModel, *, prompt: str, truncate: bool, is_query: bool = False
) -> Operation[str, list[Vectors]]:
    """The vectors of the tokens of each text, float32 [tokens, D]: of a late-interaction model, or the last layer's."""
    late = model.manifest.late_interaction
    if late:
        return _token_vectors(model, late, prompt=prompt, truncate=truncate, is_query=is_query)
    if is_query:
        raise InputError("is_query is true; this model has the same vectors for all texts", param="is_query")

    def finish(rows: list[Rows]) -> list[Vectors]:
        check_finite(_dense(rows))
        return cast(list[Vectors], rows)

    return Operation(_encoder(model, prompt, truncate), finish, "tokens")


def _token_vectors(
    model: LoadedModel, late: LateInteraction, *, prompt: str, truncate: bool, is_query: bool
) -> Operation[str, list[Vectors]]:
    encoded: deque[Sequence] = deque()

    def encode(texts: list[str]) -> list[Sequence]:
        options = _options(truncate)
        sequences = encode_side(model.tokenizer, late, texts, options, is_query=is_query, prompt=prompt, param="texts")
        encoded.extend(sequences)
        return sequences

    def finish(rows: list[Rows]) -> list[Vectors]:
        return [token_vectors(part, encoded.popleft(), late, is_query=is_query) for part in cast(list[Vectors], rows)]

    return Operation(encode, finish, "vectors")


def sparse(model: LoadedModel, *, prompt: str, truncate: bool) -> Operation[str, list[list[tuple[int, float]]]]:
    """Token ids and weights of each text's terms, by ascending id."""
    manifest = model.manifest

    def finish(rows: list[Rows]) -> list[list[tuple[int, float]]]:
        weights = cast(SparseVectors, concatenate(rows))
        check_finite(weights.values)
        return terms(weights, max_terms=manifest.max_terms, double_log=manifest.double_log)

    return Operation(_encoder(model, prompt, truncate), finish)


def score(
    model: LoadedModel, *, instruction: str | None, raw_scores: bool, truncate: bool
) -> Operation[tuple[str, str], Vectors]:
    """The relevance float32 [n] of a text to a query for each pair."""
    check_instruction(model.manifest, instruction)
    if model.manifest.late_interaction:
        return _max_sim(model, model.manifest.late_interaction, truncate=truncate)
    template, prompt = model.manifest.score_template, model.prompts.find(None)
    is_raw = raw_scores or model.manifest.activation == "none"

    def encode(pairs: Pairs) -> list[Sequence]:
        return encode_relevance(
            model.tokenizer, template, pairs, _options(truncate), prompt=prompt, instruction=instruction, param="pairs"
        )

    return Operation(encode, lambda rows: relevance(_dense(rows), template, is_raw))


def _max_sim(model: LoadedModel, late: LateInteraction, *, truncate: bool) -> Operation[tuple[str, str], Vectors]:
    chunks: deque[tuple[Relevance, list[Sequence]]] = deque()

    def encode(pairs: Pairs) -> list[Sequence]:
        pairs_of_chunk = Relevance(model.manifest, late, pairs)
        sequences = pairs_of_chunk.encode(model.tokenizer, model.prompts, _options(truncate), param="pairs")
        chunks.append((pairs_of_chunk, sequences))
        return sequences

    def finish(rows: list[Rows]) -> Vectors:
        pairs_of_chunk, sequences = chunks.popleft()
        return pairs_of_chunk.scores(cast(list[Vectors], rows), sequences)

    return Operation(encode, finish, "vectors")


def classify(model: LoadedModel, *, raw_scores: bool, truncate: bool) -> Operation[str | tuple[str, str], Vectors]:
    """The score of each label, float32 [n, num_labels], for texts or pairs of texts."""
    activation = "none" if raw_scores else model.manifest.activation

    def encode(texts: list[str | tuple[str, str]]) -> list[Sequence]:
        items = [[text] if isinstance(text, str) else [*text] for text in texts]
        return encode_items(model.tokenizer, items, _options(truncate), param="texts")

    return Operation(encode, lambda rows: apply_activation(_dense(rows), activation))


def find_entities(
    model: LoadedModel, *, aggregation: Strategy, raw_scores: bool, truncate: bool
) -> Operation[str, list[list[Entity]]]:
    """The named entities of each text, in order."""
    tokenized: deque[TokenizedText] = deque()
    labels = model.manifest.labels

    def encode(texts: list[str]) -> list[Sequence]:
        encoded = model.tokenizer.encode_texts_for_labels(texts, param="texts", **_options(truncate))
        tokenized.extend(encoded)
        return [text.sequence for text in encoded]

    def finish(rows: list[Rows]) -> list[list[Entity]]:
        return [
            entities(tokenized.popleft(), logits, labels, aggregation, raw_scores=raw_scores)
            for logits in cast(list[Vectors], rows)
        ]

    return Operation(encode, finish, "labels")


def _encoder(model: LoadedModel, prompt: str, truncate: bool) -> Callable[[list[str]], list[Sequence]]:
    return lambda texts: model.tokenizer.encode(texts, prompt=prompt, param="texts", **_options(truncate))


def _options(truncate: bool) -> TruncationOptions:
    return {"truncate": truncate, "direction": None, "max_tokens": None}


def _dense(rows: list[Rows]) -> Vectors:
    return cast(Vectors, concatenate(rows))
