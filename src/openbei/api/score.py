"""POST /score: vLLM's scores of pairs, by a reranker's relevance or an embedding model's cosine."""

import time
import uuid

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import body
from openbei.api.inputs import as_texts
from openbei.api.relevance import refuse_instruction, relevances
from openbei.api.service import Service
from openbei.api.similarity import cosines
from openbei.api.wire import decode, field_names
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
    given = field_names(content)
    names = next((names for names in _DECODERS if given & set(names)), ("text_1", "text_2"))
    request = decode(content, _DECODERS[names])
    left, right = (
        as_texts(texts, service.limits, name) for texts, name in zip((request.left, request.right), names, strict=True)
    )
    if len(left) not in (1, len(right)):
        raise InputError(
            f"{names[0]} has {len(left)} texts and {names[1]} has {len(right)}; it can be 1 and any number, or as many",
            param=names[0],
        )
    numbers = await _numbers(service, call, request, left, right, names)
    data = [Score(index, number) for index, number in enumerate(numbers.tolist())]
    name, used = service.manifest.model_name, usage(call.measured.num_tokens)
    return Reply(ScoreResponse(f"score-{uuid.uuid4().hex}", int(time.time()), name, data, used))


async def _numbers(
    service: Service, call: Call, request: ScoreRequest, left: list[str], right: list[str], names: tuple[str, str]
) -> Vectors:
    if service.manifest.spec.task == "embedding":
        refuse_instruction(service.manifest, request.instruction)
        return await cosines(service, call, {names[0]: left, names[1]: right}, request.how)
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    pairs = list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))
    return await relevances(
        service, call, pairs, request.how, instruction=request.instruction, raw_scores=raw_scores, param=names[1]
    )
