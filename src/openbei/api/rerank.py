"""POST /rerank as in BEI and TEI, and as Jina, Cohere and vLLM have it at /v1/rerank and /v2/rerank."""

import math
import uuid

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import Body, body
from openbei.api.inputs import check_count, check_text
from openbei.api.paths import has_prefix
from openbei.api.relevance import relevances
from openbei.api.service import Service
from openbei.api.shortening import DOCUMENTS, QUERIES, shortened
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.fields import usage
from openbei.api.wire.ranking import BilledUnits, Document, Meta, Ranked, RerankRequest, RerankResponse
from openbei.api.wire.tei import Rank, RankRequest
from openbei.batch import Vectors
from openbei.errors import InputError

DOCUMENTS_PER_SEARCH_UNIT = 100

_TEXTS = msgspec.json.Decoder(RankRequest)
_DOCUMENTS = msgspec.json.Decoder(RerankRequest)


async def rerank(service: Service, call: Call) -> Reply:
    """Scores as a bare array, in the order of `texts` unless the server was told otherwise.

    A body with `documents` in place of `texts` is answered as at /v1/rerank.
    """
    content = await body(service, call)
    if content.given.keys() & {"texts", "documents"} == {"documents"}:
        return await _ranked(service, call, content, has_documents=True)
    request = await content.decode(_TEXTS, decisions.RANK)
    scores = await _scores(service, call, request, request.texts, bool(request.raw_scores), "texts")
    has_texts = request.return_documents if request.return_text is None else request.return_text
    order = _best_first(scores)[: request.top_n or None]
    if service.limits.rerank_order == "input" or has_prefix(call.path):
        order = sorted(order)
    return Reply([Rank(i, float(scores[i]), request.texts[i] if has_texts else None) for i in order])


async def rerank_v1(service: Service, call: Call) -> Reply:
    """Documents, the best first, with their texts unless `return_documents` is false (Jina's default)."""
    return await _ranked(service, call, await body(service, call), has_documents=True)


async def rerank_v2(service: Service, call: Call) -> Reply:
    """Documents, the best first, without their texts unless `return_documents` is true (as at Cohere)."""
    return await _ranked(service, call, await body(service, call), has_documents=False)


async def _ranked(service: Service, call: Call, content: Body, *, has_documents: bool) -> Reply:
    request = await content.decode(_DOCUMENTS, decisions.RERANK)
    documents = [item.text if isinstance(item, Document) else item for item in request.documents]
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    scores = await _scores(service, call, request, documents, raw_scores, "documents")
    if request.return_documents is not None:
        has_documents = request.return_documents
    results = [
        Ranked(i, float(scores[i]), Document(documents[i]) if has_documents else None)
        for i in _best_first(scores)[: request.top_n or None]
    ]
    units = BilledUnits(search_units=math.ceil(len(documents) / DOCUMENTS_PER_SEARCH_UNIT))
    used = usage(call.measured.num_tokens)
    return Reply(RerankResponse(f"rerank-{uuid.uuid4().hex}", service.manifest.model_name, used, results, Meta(units)))


def _best_first(scores: Vectors) -> list[int]:
    """Places by score, the highest first; equal ones keep their order."""
    order: list[int] = (-scores).argsort(kind="stable").tolist()
    return order


async def _scores(
    service: Service, call: Call, request: RankRequest | RerankRequest, texts: list[str], raw_scores: bool, param: str
) -> Vectors:
    """A score for each text; an empty one has a score like any other. Raises what `relevances` raises."""
    check_text(request.query, "query")
    check_count(len(texts), service.limits, param)
    if request.top_n is not None and request.top_n < 0:
        raise InputError(f"top_n is {request.top_n}; it must be 0 (all) or more", param="top_n")
    [query] = await shortened(service, call, [request.query], request.max_tokens_per_query, QUERIES)
    pairs = [(query, text) for text in await shortened(service, call, texts, request.max_tokens_per_doc, DOCUMENTS)]
    cut, instruction = how_cut(service, request), request.instruction
    return await relevances(service, call, pairs, cut, instruction=instruction, raw_scores=raw_scores, param=param)
