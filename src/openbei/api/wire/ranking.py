"""What Jina, Cohere and vLLM send to rerank, and what vLLM sends to score."""

from typing import Annotated, Literal

import msgspec

from openbei.api.wire.fields import Cut, Instruction, OneOrMore, Text, Usage, bound


class Document(msgspec.Struct, frozen=True):
    """A text, wrapped."""

    text: Text


class RerankRequest(Cut, frozen=True, kw_only=True):
    """Documents to be sorted by their relevance to a query.

    The best `top_n` are returned, without it or with 0 all. `max_tokens_per_query` and `max_tokens_per_doc` cut the
    query and each document first; 0 cuts nothing.
    `instruction` is for models with a score template. `use_activation` false and `raw_scores` both ask for logits.
    """

    query: Text
    documents: Annotated[list[Text | Document], bound("texts")]
    model: str | None = None
    top_n: Annotated[int, bound("count")] | None = None
    return_documents: bool | None = None
    max_tokens_per_query: Annotated[int, bound("count")] | None = None
    max_tokens_per_doc: Annotated[int, bound("count")] | None = None
    instruction: Instruction | None = None
    raw_scores: bool | None = None
    use_activation: bool | None = None


class Ranked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document, by its place in the request, and its relevance."""

    index: int
    relevance_score: float
    document: Document | None = None


class ApiVersion(msgspec.Struct, frozen=True):
    """The version of Cohere's API that a route is of."""

    version: str = "2"


class BilledUnits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What Cohere would count: a search unit is a query with up to 100 documents."""

    input_tokens: int | None = None
    search_units: int | None = None


class Meta(msgspec.Struct, frozen=True):
    """What Cohere's clients look for."""

    billed_units: BilledUnits
    api_version: ApiVersion = ApiVersion()


class RerankResponse(msgspec.Struct, frozen=True):
    """Results, the highest score first; of equal ones the first in the request."""

    id: str
    model: str
    usage: Usage
    results: list[Ranked]
    meta: Meta
    object: Literal["list"] = "list"


class _Score(Cut, frozen=True, kw_only=True):
    """One text with one, one with each of many, or as many with as many in turn.

    `max_tokens_per_query` cuts the texts of the first field, `max_tokens_per_doc` those of the second; 0 cuts nothing.
    """

    model: str | None = None
    max_tokens_per_query: Annotated[int, bound("count")] | None = None
    max_tokens_per_doc: Annotated[int, bound("count")] | None = None
    instruction: Instruction | None = None
    raw_scores: bool | None = None
    use_activation: bool | None = None


class ScoreTextsRequest(_Score, frozen=True, kw_only=True):
    """One text with one, one with each of many, or as many with as many in turn."""

    left: OneOrMore = msgspec.field(name="text_1")
    right: OneOrMore = msgspec.field(name="text_2")


class ScoreQueriesRequest(_Score, frozen=True, kw_only=True):
    """One query with one document, one with each of many, or as many with as many in turn."""

    left: OneOrMore = msgspec.field(name="queries")
    right: OneOrMore = msgspec.field(name="documents")


class ScoreDataRequest(_Score, frozen=True, kw_only=True):
    """One text with one, one with each of many, or as many with as many in turn."""

    left: OneOrMore = msgspec.field(name="data_1")
    right: OneOrMore = msgspec.field(name="data_2")


ScoreRequest = ScoreTextsRequest | ScoreQueriesRequest | ScoreDataRequest


class Score(msgspec.Struct, frozen=True):
    """The score of a pair: relevance, or for embedding models the cosine."""

    index: int
    score: float
    object: Literal["score"] = "score"


class ScoreResponse(msgspec.Struct, frozen=True):
    """vLLM's response; `created` is in Unix seconds."""

    id: str
    created: int
    model: str
    data: list[Score]
    usage: Usage
    object: Literal["list"] = "list"
