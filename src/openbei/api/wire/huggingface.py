"""What `huggingface_hub.InferenceClient` sends to a server's address, and what it reads, for classifiers."""

from typing import Annotated, Literal

import msgspec

from openbei.api.wire.fields import OneOrMore, bound
from openbei.tasks.tokens import Strategy


class TextParameters(msgspec.Struct, frozen=True):
    """How many labels are wanted, and what makes scores of logits; by default what the model is made for."""

    top_k: Annotated[int, bound("positive")] | None = None
    function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None


class TextRequest(msgspec.Struct, frozen=True):
    """Texts to be classified."""

    inputs: OneOrMore
    parameters: TextParameters | None = None


class TokenParameters(msgspec.Struct, frozen=True):
    """How tokens become entities, and which labels are none."""

    aggregation_strategy: Strategy | None = None
    ignore_labels: list[str] | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """Texts whose entities are asked for."""

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
