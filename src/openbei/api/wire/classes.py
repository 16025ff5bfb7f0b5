"""What vLLM and Jina send to classify."""

from typing import Literal

import msgspec

from openbei.api.wire.fields import Cut, OneOrMore, Usage
from openbei.api.wire.tei import Label


class ClassifyRequest(Cut, frozen=True, kw_only=True):
    """Texts to be classified. `use_activation` false and `raw_scores` both ask for logits."""

    input: OneOrMore
    model: str | None = None
    raw_scores: bool | None = None
    use_activation: bool | None = None


class Classification(msgspec.Struct, frozen=True):
    """One text's labels: the best one, all numbers in the model's order, and all sorted."""

    index: int
    label: str
    prediction: str
    score: float
    probs: list[float]
    num_classes: int
    predictions: list[Label]
    object: Literal["classification"] = "classification"


class ClassifyResponse(msgspec.Struct, frozen=True):
    """A superset of vLLM's and Jina's responses; `created` is in Unix seconds."""

    id: str
    created: int
    model: str
    data: list[Classification]
    usage: Usage
    object: Literal["list"] = "list"
