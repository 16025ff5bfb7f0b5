"""vLLM's scores of pairs (relevance of a reranker, or cosine of an embedding model), and its classifier.

Jina's classifier has the same request and response.
"""

import time
from typing import Annotated, Literal

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import Instruction, OneOrMore, TruncationFields, Usage, bound, usage
from openbei.api.limits import as_texts, check_count, check_pairs
from openbei.api.operations.labels import classify
from openbei.api.operations.relevance import relevances
from openbei.api.operations.shortening import DOCUMENTS, QUERIES, shorten
from openbei.api.operations.similarity import cosines
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service
from openbei.batch import ScoreActivation, Vectors
from openbei.errors import InputError
from openbei.serving.task_inputs import check_instruction
from openbei.tasks.classify import Label, sorted_labels


class _Score(TruncationFields, frozen=True, kw_only=True):
    """One text with one, one with each of many, or many with equally many, paired by position.

    `max_tokens_per_query` truncates the texts of the first field, `max_tokens_per_doc` those of the second; 0 means no
    limit.
    """

    model: str | None = None
    max_tokens_per_query: Annotated[int, bound("count")] | None = None
    max_tokens_per_doc: Annotated[int, bound("count")] | None = None
    instruction: Instruction | None = None
    raw_scores: bool | None = None
    use_activation: bool | None = None


class ScoreTextsRequest(_Score, frozen=True, kw_only=True):
    """One text with one, one with each of many, or many with equally many, paired by position."""

    left: OneOrMore = msgspec.field(name="text_1")
    right: OneOrMore = msgspec.field(name="text_2")


class ScoreQueriesRequest(_Score, frozen=True, kw_only=True):
    """One query with one document, one with each of many, or many with equally many, paired by position."""

    left: OneOrMore = msgspec.field(name="queries")
    right: OneOrMore = msgspec.field(name="documents")


class ScoreDataRequest(_Score, frozen=True, kw_only=True):
    """One text with one, one with each of many, or many with equally many, paired by position."""

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


class ClassifyRequest(TruncationFields, frozen=True, kw_only=True):
    """Texts to be classified. `use_activation` false and `raw_scores` both request logits."""

    input: OneOrMore
    model: str | None = None
    raw_scores: bool | None = None
    use_activation: bool | None = None


class Classification(msgspec.Struct, frozen=True):
    """The labels of one text: the best one, all scores in the model's order, and all labels by descending score."""

    index: int
    label: str
    prediction: str
    score: float
    probs: list[float]
    num_classes: int
    predictions: list[Label]
    object: Literal["classification"] = "classification"


class ClassifyResponse(msgspec.Struct, frozen=True):
    """A superset of vLLM's and Jina's responses; `created` is in Unix seconds."""

    id: str
    created: int
    model: str
    data: list[Classification]
    usage: Usage
    object: Literal["list"] = "list"


_SCORE: dict[tuple[str, str], msgspec.json.Decoder[ScoreRequest]] = {
    ("queries", "documents"): msgspec.json.Decoder(ScoreQueriesRequest),
    ("data_1", "data_2"): msgspec.json.Decoder(ScoreDataRequest),
    ("text_1", "text_2"): msgspec.json.Decoder(ScoreTextsRequest),
}
"""Names of the two fields -> the request that has them."""

_CLASSIFY = msgspec.json.Decoder(ClassifyRequest)


async def score(service: Service, call: Call, body: Body) -> Reply:
    """A number for each pair."""
    names = next((names for names in _SCORE if body.fields.keys() & set(names)), ("text_1", "text_2"))
    request = await read(body, _SCORE[names], decisions.SCORE)
    left, right = (
        _texts(service, texts, name) for texts, name in zip((request.left, request.right), names, strict=True)
    )
    if len(left) not in (1, len(right)):
        raise InputError(
            f"{names[0]} has {len(left)} texts and {names[1]} has {len(right)}; {names[0]} must have 1, or as many",
            param=names[0],
        )
    left = await shorten(service, call, left, request.max_tokens_per_query, QUERIES)
    right = await shorten(service, call, right, request.max_tokens_per_doc, DOCUMENTS)
    numbers = await _scores(service, call, request, left, right, names)
    data = [Score(index, number) for index, number in enumerate(numbers.tolist())]
    name, used = service.model.name, usage(call.measured.num_tokens)
    return Reply(ScoreResponse(f"score-{service.server.ids.new()}", int(time.time()), name, data, used))


async def classify_texts(service: Service, call: Call, body: Body) -> Reply:
    """A classification for each text."""
    request = await read(body, _CLASSIFY, decisions.CLASSIFY)
    items = [[text] for text in as_texts(request.input, service.server.limits, "input")]
    activation: ScoreActivation | None = "none" if request.raw_scores or request.use_activation is False else None

    def answer(rows: Vectors) -> list[Classification]:
        return [_classification(service, index, row) for index, row in enumerate(rows)]

    truncation = truncation_options(service, request)
    data = await classify(service, call, items, truncation, answer, activation=activation, param="input")
    name, used = service.model.name, usage(call.measured.num_tokens)
    return Reply(ClassifyResponse(f"classify-{service.server.ids.new()}", int(time.time()), name, data, used))


def _texts(service: Service, value: str | list[str], param: str) -> list[str]:
    """A text or a list of texts as a list. For rerankers one text of a pair may be empty."""
    if service.model.manifest.spec.task == "embedding":
        return as_texts(value, service.server.limits, param)
    texts = [value] if isinstance(value, str) else value
    check_count(len(texts), service.server.limits, param)
    return texts


async def _scores(
    service: Service, call: Call, request: ScoreRequest, left: list[str], right: list[str], names: tuple[str, str]
) -> Vectors:
    truncation = truncation_options(service, request)
    if service.model.manifest.spec.task == "embedding":
        check_instruction(service.model.manifest, request.instruction)
        return await cosines(service, call, {names[0]: left, names[1]: right}, truncation)
    raw_scores = bool(request.raw_scores) or request.use_activation is False
    pairs = list(zip(left * len(right) if len(left) == 1 else left, right, strict=True))
    check_pairs(pairs, names[1])
    return await relevances(
        service, call, pairs, truncation, instruction=request.instruction, raw_scores=raw_scores, param=names[1]
    )


def _classification(service: Service, index: int, row: Vectors) -> Classification:
    labels = sorted_labels(service.model.manifest.labels, row)
    best = labels[0]
    return Classification(index, best.label, best.label, best.score, row.tolist(), len(labels), labels)
