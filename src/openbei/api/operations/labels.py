"""Labels of texts and pairs of texts."""

from collections.abc import Callable
from typing import TypeVar

from openbei.api.exchange.call import Call
from openbei.api.operations.wrong_task import require_classifier
from openbei.api.pipeline import Tokenization, run
from openbei.api.service import Service
from openbei.batch import ScoreActivation, Vectors
from openbei.serving.task_inputs import Item, encode_items
from openbei.serving.truncation import TruncationOptions
from openbei.tasks.classify import apply_activation

T = TypeVar("T")


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
    require_classifier(service.model.manifest)
    tokenization = Tokenization(
        work=lambda: encode_items(service.model.tokenizer, items, truncation, param=param),
        num_inputs=len(items),
        num_characters=sum(len(text) for item in items for text in item),
    )
    chosen = activation or service.model.manifest.activation
    return await run(service, call, tokenization, lambda logits, _: answer(apply_activation(logits, chosen)))
