"""Classifiers as the Hugging Face client asks them: `inputs` with `parameters`, answers as transformers' pipelines."""

from typing import TypeVar

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import body
from openbei.api.inputs import as_texts
from openbei.api.predict import labelled, numbers
from openbei.api.predict_tokens import found_entities
from openbei.api.service import Service
from openbei.api.wire import decisions
from openbei.api.wire.decisions import Decisions, check
from openbei.api.wire.decoding import given_fields
from openbei.api.wire.fields import How
from openbei.api.wire.huggingface import Span, TextParameters, TextRequest, TokenParameters, TokenRequest
from openbei.errors import InputError
from openbei.tasks.classify import apply_activation
from openbei.tasks.tokens import IGNORED, Entity

T = TypeVar("T")

_TEXT = msgspec.json.Decoder(TextRequest)
_TOKEN = msgspec.json.Decoder(TokenRequest)

_HOW: How = {"truncate": True, "direction": None, "max_tokens": None}


async def classify_texts(service: Service, call: Call) -> Reply:
    """A list of labels for each text, in a list for one text as well, the highest score first."""
    request = await _decoded(service, call, _TEXT, decisions.TEXT_PARAMETERS)
    items = [[text] for text in as_texts(request.inputs, service.limits, "inputs")]
    parameters = request.parameters or TextParameters()
    function, top_k = parameters.function_to_apply, parameters.top_k
    if top_k is not None and top_k < 1:
        raise InputError(f"top_k is {top_k}, it must be at least 1", param="parameters.top_k")
    rows = await numbers(service, call, items, _HOW, raw_scores=function is not None, param="inputs")
    if function is not None:
        rows = apply_activation(rows, function)
    return Reply([labelled(service, row)[:top_k] for row in rows])


async def classify_tokens(service: Service, call: Call) -> Reply:
    """A list of entities for one text, a list of such lists for several. Neighbours are grouped unless told."""
    request = await _decoded(service, call, _TOKEN, decisions.TOKEN_PARAMETERS)
    texts = as_texts(request.inputs, service.limits, "inputs")
    parameters = request.parameters or TokenParameters()
    strategy = parameters.aggregation_strategy or "simple"
    ignored = IGNORED if parameters.ignore_labels is None else parameters.ignore_labels
    found = await found_entities(service, call, {"inputs": texts}, _HOW, strategy, ignored=ignored)
    if strategy == "none":  # which keeps every token, special ones too
        found = [[entity for entity in entities if entity.end and not {*entity.results} & {*ignored}]
                 for entities in found]  # fmt: skip
    spans = [[_span(entity, is_grouped=strategy != "none") for entity in entities] for entities in found]
    return Reply(spans[0] if isinstance(request.inputs, str) else spans)


async def _decoded(service: Service, call: Call, decoder: msgspec.json.Decoder[T], parameters: Decisions) -> T:
    """The request. Raises InputError for a parameter that is refused."""
    content = await body(service, call)
    if "parameters" in content.given:
        check(given_fields(content.given["parameters"], "parameters"), parameters, "parameters.")
    return await content.decode(decoder, decisions.PIPELINE)


def _span(entity: Entity, *, is_grouped: bool) -> Span:
    [(label, score)] = entity.results.items()
    group = {"entity_group": label} if is_grouped else {"entity": label}
    return Span(entity.token, entity.start, entity.end, score, **group)
