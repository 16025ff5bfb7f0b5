"""Entities in texts, and labels of their tokens."""

from collections.abc import Collection

from openbei.api.exchange.call import Call
from openbei.api.limits import ENTITY_SIZE, MAX_ENTITY_NUMBERS, check_answer
from openbei.api.operations.wrong_task import require_token_classifier
from openbei.api.pipeline import Tokenization, run, split_by_sequence
from openbei.api.service import Service
from openbei.batch import Sequence, Vectors
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.tokens import IGNORED, Entity, Strategy, TokenizedText, entities


async def find_entities(
    service: Service,
    call: Call,
    groups: dict[str, list[str]],
    truncation: TruncationOptions,
    strategy: Strategy,
    *,
    raw_scores: bool = False,
    ignored: Collection[str] = IGNORED,
) -> list[list[Entity]]:
    """Entities of each text, in the order of texts, which come in lists by the names of their fields.

    Raises WrongTaskError, InputError, and what `run` raises.
    """
    require_token_classifier(service.model.manifest)
    labels = service.model.manifest.labels
    tokenized: list[TokenizedText] = []

    def tokenize() -> list[Sequence]:
        for name, texts in groups.items():
            tokenized.extend(service.model.tokenizer.encode_texts_for_labels(texts, param=name, **truncation))
        return [text.sequence for text in tokenized]

    def check(sequences: list[Sequence]) -> None:
        numbers_per_token = max(ENTITY_SIZE, len(labels) if raw_scores else 0)
        check_answer(call.totals, sequences, numbers_per_token, MAX_ENTITY_NUMBERS, "inputs")

    def finish(rows: Vectors, sequences: list[Sequence]) -> list[list[Entity]]:
        return [
            entities(text, logits, labels, strategy, raw_scores=raw_scores, ignored=ignored)
            for text, logits in zip(tokenized, split_by_sequence(rows, sequences), strict=True)
        ]

    tokenization = Tokenization(
        work=tokenize,
        num_inputs=sum(map(len, groups.values())),
        num_characters=sum(len(text) for texts in groups.values() for text in texts),
    )
    return await run(service, call, tokenization, finish, output="labels", check_sequences=check)
