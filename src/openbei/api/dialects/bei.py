"""BEI's labels of tokens, or named entities."""

from typing import Annotated

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import TruncationFields, bound
from openbei.api.limits import check_count, check_texts
from openbei.api.operations.entities import find_entities
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service
from openbei.errors import EmptyInputError, InputError
from openbei.tasks.tokens import Strategy


class PredictTokensRequest(TruncationFields, frozen=True, kw_only=True):
    """`inputs` is a text, a list of texts, or a list of lists of texts, which are concatenated."""

    inputs: Annotated[str | list[str | list[str]], bound("predict_tokens")]
    raw_scores: bool | None = None
    aggregation_strategy: Strategy | None = None


_DECODER = msgspec.json.Decoder(PredictTokensRequest)


async def predict_tokens(service: Service, call: Call, body: Body) -> Reply:
    """A list of entities for each text."""
    request = await read(body, _DECODER, decisions.PREDICT_TOKENS)
    groups = _groups(request.inputs)
    check_count(sum(map(len, groups.values())), service.server.limits, "inputs")
    for name, texts in groups.items():
        check_texts(texts, service.server.limits, name)
    strategy, raw_scores = request.aggregation_strategy or "none", bool(request.raw_scores)
    truncation = truncation_options(service, request)
    return Reply(await find_entities(service, call, groups, truncation, strategy, raw_scores=raw_scores))


def _groups(inputs: str | list[str | list[str]]) -> dict[str, list[str]]:
    """The texts in order, as lists by the name of their field. Raises EmptyInputError, InputError."""
    texts = [inputs] if isinstance(inputs, str) else [item for item in inputs if isinstance(item, str)]
    lists = [item for item in inputs if isinstance(item, list)]
    if [] in lists:
        raise EmptyInputError(f"inputs[{lists.index([])}] is an empty list", param="inputs")
    if texts and lists:
        raise InputError("inputs mixes texts and lists of texts", param="inputs")
    if all(len(item) == 1 for item in lists):
        return {"inputs": texts + [text for [text] in lists]}
    return {f"inputs[{i}]": item for i, item in enumerate(lists)}
