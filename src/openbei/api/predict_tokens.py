"""POST /predict_tokens: labels of tokens, or named entities, as in BEI."""

from collections.abc import Collection

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.embed import split
from openbei.api.inference import infer_dense, off_loop, read, tokenize
from openbei.api.inputs import check_answer, check_count, check_texts
from openbei.api.service import Service
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.fields import How
from openbei.api.wire.tei import PredictTokensRequest
from openbei.api.wrong_task import require_token_classifier
from openbei.batch import Sequence
from openbei.errors import EmptyInputError, InputError
from openbei.tasks.tokens import IGNORED, Entity, Strategy, TokenizedText, entities

MAX_NUMBERS = 4_000_000
"""What is answered at once, where each token counts for its raw scores, and for at least ENTITY_SIZE."""

ENTITY_SIZE = 16

_DECODER = msgspec.json.Decoder(PredictTokensRequest)


async def predict_tokens(service: Service, call: Call) -> Reply:
    """A list of entities for each text."""
    request = await read(service, call, _DECODER, decisions.PREDICT_TOKENS)
    strategy = request.aggregation_strategy or "none"
    groups = _groups(request.inputs)
    check_count(sum(map(len, groups.values())), service.limits, "inputs")
    for name, texts in groups.items():
        check_texts(texts, service.limits, name)
    how = how_cut(service, request)
    return Reply(await found_entities(service, call, groups, how, strategy, raw_scores=bool(request.raw_scores)))


async def found_entities(
    service: Service,
    call: Call,
    groups: dict[str, list[str]],
    how: How,
    strategy: Strategy,
    *,
    raw_scores: bool = False,
    ignored: Collection[str] = IGNORED,
) -> list[list[Entity]]:
    """Entities of each text, in the order of texts, which come in lists by the names of their fields.

    Raises WrongTaskError, InputError, and what `infer` raises.
    """
    require_token_classifier(service.manifest)
    tokenized = await _tokenize(service, call, groups, how)
    sequences = [text.sequence for text in tokenized]
    labels = service.manifest.labels
    check_answer(call, sequences, max(ENTITY_SIZE, len(labels) if raw_scores else 0), MAX_NUMBERS, "inputs")
    logits = split(await infer_dense(service, call, sequences, "labels"), sequences)

    def work() -> list[list[Entity]]:
        return [
            entities(text, part, labels, strategy, raw_scores=raw_scores, ignored=ignored)
            for text, part in zip(tokenized, logits, strict=True)
        ]

    return await off_loop(call, work, call.measured.num_characters)


def _groups(inputs: str | list[str | list[str]]) -> dict[str, list[str]]:
    """Texts in their order, in lists by the names of their fields. Raises EmptyInputError, InputError."""
    texts = [inputs] if isinstance(inputs, str) else [item for item in inputs if isinstance(item, str)]
    lists = [item for item in inputs if isinstance(item, list)]
    if [] in lists:
        raise EmptyInputError(f"inputs[{lists.index([])}] is an empty list", param="inputs")
    if texts and lists:
        raise InputError("inputs mixes texts and lists of texts", param="inputs")
    if all(len(item) == 1 for item in lists):
        return {"inputs": texts + [text for [text] in lists]}
    return {f"inputs[{i}]": item for i, item in enumerate(lists)}


async def _tokenize(service: Service, call: Call, groups: dict[str, list[str]], how: How) -> list[TokenizedText]:
    tokenized: list[TokenizedText] = []

    def work() -> list[Sequence]:
        for name, texts in groups.items():
            tokenized.extend(service.tokenizer.encode_texts_for_labels(texts, param=name, **how))
        return [text.sequence for text in tokenized]

    num_characters = sum(len(text) for texts in groups.values() for text in texts)
    num_inputs = sum(map(len, groups.values()))
    await tokenize(service, call, work, num_inputs=num_inputs, num_characters=num_characters)
    return tokenized
