"""Labels of texts and pairs of texts."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from openbei.api.exchange.call import Call
from openbei.api.operations.truncation import TruncationOptions
from openbei.api.operations.wrong_task import require_classifier
from openbei.api.pipeline import Tokenization, run
from openbei.api.service import Service
from openbei.batch import ScoreActivation, Sequence, Vectors
from openbei.serving.tokenizer import Tokenizer
from openbei.tasks.classify import apply_activation, sorted_by_score

T = TypeVar("T")

Item = list[str]
"""A text, or the two of a pair."""


class Label(msgspec.Struct, frozen=True):
    """A label of a classifier, and its probability or logit."""

    label: str
    score: float


async def classify(
    service: Service,
    call: Call,
    items: list[Item],
    truncation: TruncationOptions,
    answer: Callable[[Vectors], T],
    *,
    activation: ScoreActivation | None = None,
    param: str,
) -> T:
    """The result of `answer`, which gets scores float32 [n, num_labels]; by default with the model's activation.

    Raises WrongTaskError, and what `run` raises.
    """
    require_classifier(service.manifest)
    tokenization = Tokenization(
        work=lambda: _sequences(service.tokenizer, items, truncation, param),
        num_inputs=len(items),
        num_characters=sum(len(text) for item in items for text in item),
    )
    chosen = activation or service.manifest.activation
    return await run(service, call, tokenization, lambda logits, _: answer(apply_activation(logits, chosen)))


def sorted_labels(service: Service, row: Vectors) -> list[Label]:
    """The labels of one text, the highest number first."""
    return [Label(label, number) for label, number in sorted_by_score(service.manifest.labels, row)]


def _sequences(tokenizer: Tokenizer, items: list[Item], truncation: TruncationOptions, param: str) -> list[Sequence]:
    lengths = {len(item) for item in items}
    if lengths == {1}:
        return tokenizer.encode([text for [text] in items], param=param, **truncation)
    if lengths == {2}:
        return tokenizer.encode_pairs([(first, second) for first, second in items], param=param, **truncation)
    return [
        sequence
        for i, item in enumerate(items)
        for sequence in _sequences(tokenizer, [item], truncation, f"{param}[{i}]")
    ]
