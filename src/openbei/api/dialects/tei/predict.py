"""TEI's and BEI's labels of texts or pairs of texts. No template is applied."""

from typing import Annotated

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import TruncationFields, bound
from openbei.api.limits import check_count, check_text
from openbei.api.operations.labels import classify
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service
from openbei.batch import ScoreActivation, Vectors
from openbei.errors import EmptyInputError, InputError
from openbei.serving.task_inputs import Item
from openbei.tasks.classify import Label, sorted_labels

GRAMMAR = 'inputs is "text", ["text"], ["first of a pair", "second"], or a list of such lists'


class PredictRequest(TruncationFields, frozen=True, kw_only=True):
    """`inputs` is a text, a list of one, a pair of texts as a list of two, or a list of such lists."""

    inputs: Annotated[str | list[str | list[str]], bound("predict")]
    raw_scores: bool | None = None


_DECODER = msgspec.json.Decoder(PredictRequest)


async def predict(service: Service, call: Call, body: Body) -> Reply:
    """Labels with their probabilities, highest first; for a batch, a list of such lists."""
    request = await read(body, _DECODER, decisions.PREDICT)
    items, is_batch = _items(request.inputs)
    check_count(len(items), service.server.limits, "inputs")
    for i, item in enumerate(items):
        if not any(item):  # one text of a pair may be empty
            check_text("", f"inputs[{i}]" if is_batch else "inputs")

    def answer(rows: Vectors) -> list[list[Label]]:
        return [sorted_labels(service.model.manifest.labels, row) for row in rows]

    truncation = truncation_options(service, request)
    activation: ScoreActivation | None = "none" if request.raw_scores else None
    answers = await classify(service, call, items, truncation, answer, activation=activation, param="inputs")
    return Reply(answers if is_batch else answers[0])


def _items(inputs: str | list[str | list[str]]) -> tuple[list[Item], bool]:
    """The texts and pairs, and whether they are a batch. Raises EmptyInputError, InputError with the allowed forms."""
    if isinstance(inputs, str):
        return [[inputs]], False
    texts = [item for item in inputs if isinstance(item, str)]
    items = [item for item in inputs if isinstance(item, list)]
    if not inputs or [] in items:
        raise EmptyInputError("inputs is or contains an empty list", param="inputs")
    if texts and items:
        raise InputError(f"inputs mixes texts and lists; {GRAMMAR}", param="inputs")
    for i, item in enumerate(items or [texts]):
        if len(item) > 2:
            name = f"inputs[{i}]" if items else "inputs"
            raise InputError(f"{name} has {len(item)} texts; {GRAMMAR}", param=name)
    return items or [texts], bool(items)
