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
    raw_scores, texts = bool(request.raw_scores), request.texts
    _check(service, request.query, texts, "texts")
    scores = await _scores(service, call, request, request.query, texts, raw_scores=raw_scores, param="texts")
    shown = texts if request.return_text else [None] * len(texts)
    is_sorted = service.limits.rerank_order == "score" and not has_prefix(call.path)
    order = _best_first(scores) if is_sorted else range(len(texts))
    return Reply([Rank(i, float(scores[i]), shown[i]) for i in order])


async def rerank_v1(service: Service, call: Call) -> Reply:
    """Documents, the best first, with their texts unless `return_documents` is false (Jina's default)."""
    return await _ranked(service, call, await body(service, call), has_documents=True)


async def rerank_v2(service: Service, call: Call) -> Reply:
    """Documents, the best first, without their texts unless `return_documents` is true (as at Cohere)."""
    return await _ranked(service, call, await body(service, call), has_documents=False)


async def _ranked(service: Service, call: Call, content: Body, *, has_documents: bool) -> Reply:
    request = await content.decode(_DOCUMENTS, decisions.RERANK)
    top_n = request.top_n or None
    if top_n is not None and top_n < 0:
        raise InputError(f"top_n is {top_n}, it can be 0 (all) or more", param="top_n")
    documents = [item.text if isinstance(item, Document) else item for item in request.documents]
    _check(service, request.query, documents, "documents")
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    [query] = await shortened(service, call, [request.query], request.max_tokens_per_query, QUERIES)
    read = await shortened(service, call, documents, request.max_tokens_per_doc, DOCUMENTS)
    scores = await _scores(service, call, request, query, read, raw_scores=raw_scores, param="documents")
    if request.return_documents is not None:
        has_documents = request.return_documents
    results = [
        Ranked(i, float(scores[i]), Document(documents[i]) if has_documents else None)
        for i in _best_first(scores)[:top_n]
    ]
    units = BilledUnits(search_units=math.ceil(len(documents) / DOCUMENTS_PER_SEARCH_UNIT))
    used = usage(call.measured.num_tokens)
    return Reply(RerankResponse(f"rerank-{uuid.uuid4().hex}", service.manifest.model_name, used, results, Meta(units)))


def _best_first(scores: Vectors) -> list[int]:
    """Places by score, the highest first; equal ones keep their order."""
    order: list[int] = (-scores).argsort(kind="stable").tolist()
    return order


def _check(service: Service, query: str, texts: list[str], param: str) -> None:
    """An empty text has a score like any other; a query of nothing is a mistake."""
    check_text(query, "query")
    check_count(len(texts), service.limits, param)


async def _scores(
    service: Service,
    call: Call,
    request: RankRequest | RerankRequest,
    query: str,
    texts: list[str],
    *,
    raw_scores: bool,
    param: str,
) -> Vectors:
    pairs = [(query, text) for text in texts]
    cut = how_cut(service, request)
    return await relevances(
        service, call, pairs, cut, instruction=request.instruction, raw_scores=raw_scores, param=param
    )
