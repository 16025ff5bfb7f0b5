"""The routes of text-embeddings-inference and BEI; what classifiers of sequences and tokens get is here too."""

from typing import Annotated, Any

import msgspec

from openbei.api.wire.fields import Cut, Dimensions, Inputs, Instruction, OneOrMore, PromptName, Text, Texts, bound
from openbei.tasks.tokens import Strategy


class EmbedAllRequest(Cut, frozen=True, kw_only=True):
    """`inputs` is a text, a list of texts, a list of token ids, or a list of such lists."""

    inputs: Inputs
    prompt_name: PromptName | None = None


class EmbedRequest(EmbedAllRequest, frozen=True, kw_only=True):
    """The same; `dimensions` cuts embeddings, which are then normalized again unless `normalize` is false."""

    normalize: bool | None = None
    dimensions: Dimensions | None = None


class EmbedSparseRequest(EmbedAllRequest, frozen=True, kw_only=True):
    """Inputs of a SPLADE model."""


class Term(msgspec.Struct, frozen=True):
    """A word of the vocabulary, by its token id, and its weight."""

    index: int
    value: float


class SimilarityInputs(msgspec.Struct, frozen=True):
    """A sentence, and those it is compared to."""

    source_sentence: Text
    sentences: Annotated[list[Text], bound("sentences")]


class SimilarityParameters(Cut, frozen=True, kw_only=True):
    """How sentences are read."""

    prompt_name: PromptName | None = None


class SimilarityRequest(msgspec.Struct, frozen=True):
    """Asks for the cosine of a sentence to each of others."""

    inputs: SimilarityInputs
    parameters: SimilarityParameters | None = None


class RankRequest(Cut, frozen=True, kw_only=True):
    """Texts to be scored for a query. `instruction` is for models with a score template.

    Clients of other rerankers may send `top_n`, which keeps the best only, `return_documents` for `return_text`, and
    how many tokens the query and each text may have.
    """

    query: Text
    texts: Texts
    raw_scores: bool | None = None
    return_text: bool | None = None
    return_documents: bool | None = None
    top_n: Annotated[int, bound("count")] | None = None
    max_tokens_per_query: Annotated[int, bound("count")] | None = None
    max_tokens_per_doc: Annotated[int, bound("count")] | None = None
    instruction: Instruction | None = None


class Rank(msgspec.Struct, frozen=True, omit_defaults=True):
    """The score of the text at `index`."""

    index: int
    score: float
    text: str | None = None


class PredictRequest(Cut, frozen=True, kw_only=True):
    """`inputs` is a text, a list of one, a pair of texts as a list of two, or a list of such lists."""

    inputs: Annotated[str | list[str | list[str]], bound("predict")]
    raw_scores: bool | None = None


class Label(msgspec.Struct, frozen=True):
    """A label of a classifier, and its probability or logit."""

    label: str
    score: float


class PredictTokensRequest(Cut, frozen=True, kw_only=True):
    """`inputs` is a text, a list of texts, or a list of lists of texts, which are taken one after the other."""

    inputs: Annotated[str | list[str | list[str]], bound("predict_tokens")]
    raw_scores: bool | None = None
    aggregation_strategy: Strategy | None = None


class TokenizeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts whose tokens are asked for."""

    inputs: OneOrMore
    add_special_tokens: bool | None = None
    prompt_name: PromptName | None = None


class DecodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`ids` is a list of token ids, or a list of such lists."""

    ids: Annotated[list[int | list[int]], bound("ids")]
    skip_special_tokens: bool | None = None


class VertexRequest(msgspec.Struct, frozen=True):
    """Vertex AI's envelope around requests."""

    instances: Annotated[list[msgspec.Raw], bound("instances")]


class VertexResponse(msgspec.Struct, frozen=True):
    """What each instance is answered, in their order."""

    predictions: list[Any]


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """What is served, and its limits. `model_type` has one key: embedding, classifier, reranker or token_classifier.

    `similarity_fn_name` is what an embedding model's vectors are compared with, in sentence-transformers' words.
    """

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, dict[str, Any]]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool
    version: str
    similarity_fn_name: str | None = None
