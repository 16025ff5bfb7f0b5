"""POST /predict: labels of texts or pairs of texts, as in TEI and BEI. No template is applied."""

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.inference import Body, body, infer_dense, off_loop, tokenize
from openbei.api.inputs import check_count, check_text
from openbei.api.service import Service
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.fields import How
from openbei.api.wire.tei import Label, PredictRequest
from openbei.api.wrong_task import require_classifier
from openbei.batch import Sequence, Vectors
from openbei.errors import EmptyInputError, InputError
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.classify import apply_activation, sorted_by_score

GRAMMAR = 'inputs is "text", ["text"], ["first of a pair", "second"], or a list of such lists'

_DECODER = msgspec.json.Decoder(PredictRequest)

Item = list[str]
"""A text, or the two of a pair."""


async def predict(service: Service, call: Call) -> Reply:
    """Labels with their probabilities, the highest first; for a batch a list of such lists."""
    return await predicted(service, call, await body(service, call))


async def predicted(service: Service, call: Call, content: Body) -> Reply:
    """Answer a body of /predict."""
    request = await content.decode(_DECODER, decisions.PREDICT)
    items, is_batch = _items(request.inputs)
    check_count(len(items), service.limits, "inputs")
    for i, item in enumerate(items):
        if not any(item):  # one text of a pair may be empty
            check_text("", f"inputs[{i}]" if is_batch else "inputs")
    how = how_cut(service, request)
    rows = await numbers(service, call, items, how, raw_scores=bool(request.raw_scores), param="inputs")
    answers = await off_loop(call, lambda: [labelled(service, row) for row in rows], rows.size)
    return Reply(answers if is_batch else answers[0])


async def numbers(
    service: Service, call: Call, items: list[Item], how: How, *, raw_scores: bool, param: str
) -> Vectors:
    """Scores or logits of texts and pairs, float32 [n, num_labels].

    Raises WrongTaskError, and what `infer` raises.
    """
    require_classifier(service.manifest)
    num_characters = sum(len(text) for item in items for text in item)
    tokenizer = service.tokenizer

    def work() -> list[Sequence]:
        return _sequences(tokenizer, items, how, param)

    sequences = await tokenize(service, call, work, num_inputs=len(items), num_characters=num_characters)
    logits = await infer_dense(service, call, sequences)
    return apply_activation(logits, "none" if raw_scores else service.manifest.activation)


def labelled(service: Service, row: Vectors) -> list[Label]:
    """The labels of one text, the highest number first."""
    return [Label(label, number) for label, number in sorted_by_score(service.manifest.labels, row)]


def _items(inputs: str | list[str | list[str]]) -> tuple[list[Item], bool]:
    """Texts and pairs, and whether they came as a batch. Raises EmptyInputError, InputError naming the grammar."""
    if isinstance(inputs, str):
        return [[inputs]], False
    texts = [item for item in inputs if isinstance(item, str)]
    items = [item for item in inputs if isinstance(item, list)]
    if not inputs or [] in items:
        raise EmptyInputError("inputs is or has an empty list", param="inputs")
    if texts and items:
        raise InputError(f"inputs mixes texts and lists; {GRAMMAR}", param="inputs")
    for i, item in enumerate(items or [texts]):
        if len(item) > 2:
            name = f"inputs[{i}]" if items else "inputs"
            raise InputError(f"{name} has {len(item)} texts; {GRAMMAR}", param=name)
    return items or [texts], bool(items)


def _sequences(tokenizer: Tokenizer, items: list[Item], how: How, param: str) -> list[Sequence]:
    lengths = {len(item) for item in items}
    if lengths == {1}:
        return tokenizer.encode([text for [text] in items], param=param, **how)
    if lengths == {2}:
        return tokenizer.encode_pairs([(first, second) for first, second in items], param=param, **how)
    return [
        sequence for i, item in enumerate(items) for sequence in _sequences(tokenizer, [item], how, f"{param}[{i}]")
    ]
