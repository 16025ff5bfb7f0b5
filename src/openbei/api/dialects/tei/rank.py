"""TEI's and BEI's reranker: scores of texts for a query."""

import msgspec

from openbei.api.dialects import decisions
from openbei.api.dialects.ranking import RankingFields, best_first, rank_documents, score_texts
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.paths import has_prefix
from openbei.api.fields import Texts
from openbei.api.pipeline import read
from openbei.api.service import Service


class RankRequest(RankingFields, frozen=True, kw_only=True):
    """Texts to be scored for a query. `return_documents` is another name for `return_text`."""

    texts: Texts
    return_text: bool | None = None


class Rank(msgspec.Struct, frozen=True, omit_defaults=True):
    """The score of the text at `index`."""

    index: int
    score: float
    text: str | None = None


_DECODER = msgspec.json.Decoder(RankRequest)


async def rerank(service: Service, call: Call, body: Body) -> Reply:
    """Scores as a bare array, in the order of `texts` unless --rerank-order says otherwise.

    A body with `documents` in place of `texts` is answered as at /v1/rerank.
    """
    if body.fields.keys() & {"texts", "documents"} == {"documents"}:
        return await rank_documents(service, call, body, returns_documents=True)
    request = await read(body, _DECODER, decisions.RANK)
    raw_scores = bool(request.raw_scores)
    scores = await score_texts(service, call, request, request.texts, raw_scores=raw_scores, param="texts")
    has_texts = request.return_documents if request.return_text is None else request.return_text
    order = best_first(scores)[: request.top_n or None]
    if service.server.limits.rerank_order == "input" or has_prefix(call.path):
        order = sorted(order)
    return Reply([Rank(i, float(scores[i]), request.texts[i] if has_texts else None) for i in order])
