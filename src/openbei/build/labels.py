"""A classifier's labels and the activation of its logits: id2label and problem_type of config.json."""

from collections.abc import Mapping
from typing import Any

import msgspec

from openbei.batch import ScoreActivation
from openbei.errors import CheckpointError
from openbei.families.fields import parse_fields

ACTIVATION_OF_PROBLEM_TYPE: dict[str, ScoreActivation] = {
    "regression": "none",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
}
"""problem_type -> activation in transformers' text-classification pipeline."""


class _LabelConfig(msgspec.Struct, frozen=True):
    """The keys of config.json for labels."""

    id2label: dict[str, str] | None = None
    problem_type: str | None = None


def read_labels(config: Mapping[str, Any]) -> tuple[tuple[str, ...], ScoreActivation]:
    """Label names by index, and the activation of their logits. Raises CheckpointError.

    The default activation is softmax for several labels. A single label has sigmoid unless it is a regression.
    """
    fields = parse_fields(config, _LabelConfig)
    id2label, problem_type = fields.id2label, fields.problem_type
    if not id2label:
        raise CheckpointError(
            "config.json has no id2label; a classifier needs a name for each label",
            hint='add it, such as "id2label": {"0": "negative", "1": "positive"}',
        )
    indices = [str(index) for index in range(len(id2label))]
    if set(id2label) != set(indices):
        raise CheckpointError(f"config.json: id2label has the keys {', '.join(id2label)}; they must be 0, 1, 2, …")
    names = tuple(id2label[index] for index in indices)
    if len(set(names)) < len(names):
        raise CheckpointError(f"config.json: id2label has duplicate names: {', '.join(names)}")
    if problem_type not in (None, *ACTIVATION_OF_PROBLEM_TYPE):
        supported = ", ".join(ACTIVATION_OF_PROBLEM_TYPE)
        raise CheckpointError(f"config.json: problem_type is {problem_type!r}; it must be {supported}, or null")
    activation = ACTIVATION_OF_PROBLEM_TYPE.get(problem_type or "", "softmax")
    return names, "sigmoid" if len(names) == 1 and activation == "softmax" else activation
