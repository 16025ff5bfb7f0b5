"""POST /score: vLLM's scores of pairs, by a reranker's relevance or an embedding model's cosine."""

import time
import uuid

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import body
from openbei.api.inputs import as_texts, check_count, check_pairs
from openbei.api.relevance import refuse_instruction, relevances
from openbei.api.service import Service
from openbei.api.shortening import DOCUMENTS, QUERIES, shortened
from openbei.api.similarity import cosines
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.fields import usage
from openbei.api.wire.ranking import (
    Score,
    ScoreDataRequest,
    ScoreQueriesRequest,
    ScoreRequest,
    ScoreResponse,
    ScoreTextsRequest,
)
from openbei.batch import Vectors
from openbei.errors import InputError

_DECODERS: dict[tuple[str, str], msgspec.json.Decoder[ScoreRequest]] = {
    ("queries", "documents"): msgspec.json.Decoder(ScoreQueriesRequest),
    ("data_1", "data_2"): msgspec.json.Decoder(ScoreDataRequest),
    ("text_1", "text_2"): msgspec.json.Decoder(ScoreTextsRequest),
}
"""Names of the two fields -> the request that has them."""


async def score(service: Service, call: Call) -> Reply:
    """A number for each pair."""
    content = await body(service, call)
    names = next((names for names in _DECODERS if content.given.keys() & set(names)), ("text_1", "text_2"))
    request = await content.decode(_DECODERS[names], decisions.SCORE)
    left, right = (
        _texts(service, texts, name) for texts, name in zip((request.left, request.right), names, strict=True)
    )
    if len(left) not in (1, len(right)):
        raise InputError(
            f"{names[0]} has {len(left)} texts and {names[1]} has {len(right)}; it can be 1 and any number, or as many",
            param=names[0],
        )
    left = await shortened(service, call, left, request.max_tokens_per_query, QUERIES)
    right = await shortened(service, call, right, request.max_tokens_per_doc, DOCUMENTS)
    numbers = await _numbers(service, call, request, left, right, names)
    data = [Score(index, number) for index, number in enumerate(numbers.tolist())]
    name, used = service.manifest.model_name, usage(call.measured.num_tokens)
    return Reply(ScoreResponse(f"score-{uuid.uuid4().hex}", int(time.time()), name, data, used))


def _texts(service: Service, given: str | list[str], param: str) -> list[str]:
    """A text or a list of texts as a list; in a pair one of them may be empty, which nothing embeds."""
    if service.manifest.spec.task == "embedding":
        return as_texts(given, service.limits, param)
    texts = [given] if isinstance(given, str) else given
    check_count(len(texts), service.limits, param)
    return texts


async def _numbers(
    service: Service, call: Call, request: ScoreRequest, left: list[str], right: list[str], names: tuple[str, str]
) -> Vectors:
    how = how_cut(service, request)
    if service.manifest.spec.task == "embedding":
        refuse_instruction(service.manifest, request.instruction)
        return await cosines(service, call, {names[0]: left, names[1]: right}, how)
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    pairs = list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))
    check_pairs(pairs, names[1])
    return await relevances(
        service, call, pairs, how, instruction=request.instruction, raw_scores=raw_scores, param=names[1]
    )
