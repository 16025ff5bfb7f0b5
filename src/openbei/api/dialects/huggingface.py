"""Classifiers for `huggingface_hub.InferenceClient` and npm's `@huggingface/inference`, which only send requests to /.

Requests have `inputs` and `parameters`; answers are those of transformers' pipelines.
"""

from typing import Annotated, Literal, TypeVar

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.decisions import Decisions, check
from openbei.api.exchange.decoding import non_null_fields
from openbei.api.fields import OneOrMore, bound
from openbei.api.limits import as_texts
from openbei.api.operations.entities import find_entities
from openbei.api.operations.labels import classify
from openbei.api.operations.truncation import default_truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service
from openbei.batch import Vectors
from openbei.errors import InputError
from openbei.tasks.classify import Label, sorted_labels
from openbei.tasks.tokens import IGNORED, Entity, Strategy

T = TypeVar("T")


class TextParameters(msgspec.Struct, frozen=True):
    """How many labels to return, and the activation; by default the model's own."""

    top_k: Annotated[int, bound("positive")] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class TextRequest(msgspec.Struct, frozen=True):
    """Texts to be classified."""

    inputs: OneOrMore
    parameters: TextParameters | None = None


class TokenParameters(msgspec.Struct, frozen=True):
    """The aggregation of tokens to entities, and the labels to omit."""

    aggregation_strategy: Strategy | None = None
    ignore_labels: list[str] | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """Texts in which to find entities."""

    inputs: OneOrMore
    parameters: TokenParameters | None = None


class Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token with its `entity`, or a group of them with its `entity_group`; `start` to `end` in code points."""

    word: str
    start: int
    end: int
    score: float
    entity: str | None = None
    entity_group: str | None = None


_TEXT = msgspec.json.Decoder(TextRequest)
_TOKEN = msgspec.json.Decoder(TokenRequest)


async def classify_texts(service: Service, call: Call, body: Body) -> Reply:
    """A list of labels for each text, highest score first; also for a single text."""
    request = await _read(body, _TEXT, decisions.TEXT_PARAMETERS)
    items = [[text] for text in as_texts(request.inputs, service.server.limits, "inputs")]
    parameters = request.parameters or TextParameters()
    function, top_k = parameters.function_to_apply, parameters.top_k
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}; it must be at least 1", param="parameters.top_k")

    def answer(rows: Vectors) -> list[list[Label]]:
        return [sorted_labels(service.model.manifest.labels, row)[:top_k] for row in rows]

    truncation = default_truncation_options(service)
    return Reply(await classify(service, call, items, truncation, answer, activation=function, param="inputs"))


async def classify_tokens(service: Service, call: Call, body: Body) -> Reply:
    """A list of entities for one text, or a list of such lists. By default adjacent tokens are grouped."""
    request = await _read(body, _TOKEN, decisions.TOKEN_PARAMETERS)
    texts = as_texts(request.inputs, service.server.limits, "inputs")
    parameters = request.parameters or TokenParameters()
    strategy = parameters.aggregation_strategy or "simple"
    ignored = IGNORED if parameters.ignore_labels is None else parameters.ignore_labels
    truncation = default_truncation_options(service)
    entities = await find_entities(service, call, {"inputs": texts}, truncation, strategy, ignored=ignored)
    if strategy == "none":  # includes every token, also special tokens
        entities = [[entity for entity in of_text if _is_shown(entity, {*ignored})] for of_text in entities]
    spans = [[_span(entity, is_grouped=strategy != "none") for entity in of_text] for of_text in entities]
    return Reply(spans[0] if isinstance(request.inputs, str) else spans)


async def _read(body: Body, decoder: msgspec.json.Decoder[T], parameters: Decisions) -> T:
    """The request. Raises InputError for a parameter that is refused."""
    if "parameters" in body.fields:
        check(non_null_fields(body.fields["parameters"], "parameters"), parameters, "parameters.")
    return await read(body, decoder, decisions.PIPELINE)


def _is_shown(entity: Entity, ignored: set[str]) -> bool:
    return bool(entity.end) and not {*entity.results} & ignored


def _span(entity: Entity, *, is_grouped: bool) -> Span:
    [(label, score)] = entity.results.items()
    group = {"entity_group": label} if is_grouped else {"entity": label}
    return Span(entity.token, entity.start, entity.end, score, **group)
