"""Ranking of documents by relevance to a query, shared by the rerankers of Jina, Cohere and vLLM."""

import math
from typing import Annotated, Literal

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import Instruction, Text, TruncationFields, Usage, bound, usage
from openbei.api.limits import check_count, check_text
from openbei.api.operations.relevance import relevances
from openbei.api.operations.shortening import DOCUMENTS, QUERIES, shorten
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service
from openbei.batch import Vectors
from openbei.errors import InputError

DOCUMENTS_PER_SEARCH_UNIT = 100


class RankingFields(TruncationFields, frozen=True, kw_only=True):
    """Fields of every ranking request.

    The best `top_n` are returned; None or 0 means all. `max_tokens_per_query` and `max_tokens_per_doc` truncate the
    query and each text first; 0 means no limit. `instruction` is for models with a score template.
    """

    query: Text
    raw_scores: bool | None = None
    return_documents: bool | None = None
    top_n: Annotated[int, bound("count")] | None = None
    max_tokens_per_query: Annotated[int, bound("count")] | None = None
    max_tokens_per_doc: Annotated[int, bound("count")] | None = None
    instruction: Instruction | None = None


class Document(msgspec.Struct, frozen=True):
    """A text as an object."""

    text: Text


class RerankRequest(RankingFields, frozen=True, kw_only=True):
    """Documents to be sorted by relevance to a query. Both `use_activation` false and `raw_scores` request logits."""

    documents: Annotated[list[Text | Document], bound("texts")]
    model: str | None = None
    use_activation: bool | None = None


class Ranked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A document's index in the request, and its relevance."""

    index: int
    relevance_score: float
    document: Document | None = None


class ApiVersion(msgspec.Struct, frozen=True):
    """The version of Cohere's API that a route belongs to."""

    version: str = "2"


class BilledUnits(msgspec.Struct, frozen=True, omit_defaults=True):
    """The units that Cohere would bill: a search unit is a query with up to 100 documents."""

    input_tokens: int | None = None
    search_units: int | None = None


class Meta(msgspec.Struct, frozen=True):
    """The metadata that Cohere's clients expect."""

    billed_units: BilledUnits
    api_version: ApiVersion = ApiVersion()


class RerankResponse(msgspec.Struct, frozen=True):
    """Results, highest score first; ties keep the order of the request."""

    id: str
    model: str
    usage: Usage
    results: list[Ranked]
    meta: Meta
    object: Literal["list"] = "list"


_DECODER = msgspec.json.Decoder(RerankRequest)


async def rank_documents(service: Service, call: Call, body: Body, *, returns_documents: bool) -> Reply:
    """Documents, best first. `returns_documents` is the default of `return_documents`."""
    request = await read(body, _DECODER, decisions.RERANK)
    documents = [item.text if isinstance(item, Document) else item for item in request.documents]
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    scores = await score_texts(service, call, request, documents, raw_scores=raw_scores, param="documents")
    if request.return_documents is not None:
        returns_documents = request.return_documents
    results = [
        Ranked(i, float(scores[i]), Document(documents[i]) if returns_documents else None)
        for i in best_first(scores)[: request.top_n or None]
    ]
    units = BilledUnits(search_units=math.ceil(len(documents) / DOCUMENTS_PER_SEARCH_UNIT))
    used = usage(call.measured.num_tokens)
    return Reply(RerankResponse(f"rerank-{service.server.ids.new()}", service.model.name, used, results, Meta(units)))


async def score_texts(
    service: Service, call: Call, request: RankingFields, texts: list[str], *, raw_scores: bool, param: str
) -> Vectors:
    """A score for each text; texts may be empty. Raises the errors of `relevances`."""
    check_text(request.query, "query")
    check_count(len(texts), service.server.limits, param)
    if request.top_n is not None and request.top_n < 0:
        raise InputError(f"top_n is {request.top_n}; it must be 0 (all) or more", param="top_n")
    [query] = await shorten(service, call, [request.query], request.max_tokens_per_query, QUERIES)
    pairs = [(query, text) for text in await shorten(service, call, texts, request.max_tokens_per_doc, DOCUMENTS)]
    truncation, instruction = truncation_options(service, request), request.instruction
    return await relevances(
        service, call, pairs, truncation, instruction=instruction, raw_scores=raw_scores, param=param
    )


def best_first(scores: Vectors) -> list[int]:
    """Indices by descending score; ties keep their order."""
    order: list[int] = (-scores).argsort(kind="stable").tolist()
    return order
