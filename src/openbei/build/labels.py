"""Labels of a classifier, and what becomes of its logits: id2label and problem_type of config.json."""

from collections.abc import Mapping
from typing import Any

import msgspec

from openbei.batch import ScoreActivation
from openbei.errors import CheckpointError
from openbei.families.fields import fields_of

PROBLEMS: dict[str, ScoreActivation] = {
    "regression": "none",
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
}
"""problem_type -> what transformers' text-classification pipeline does with logits."""


class _LabelConfig(msgspec.Struct, frozen=True):
    """What config.json says of a classifier's labels."""

    id2label: dict[str, str] | None = None
    problem_type: str | None = None


def read_labels(config: Mapping[str, Any]) -> tuple[tuple[str, ...], ScoreActivation]:
    """Label names by index, and the activation of their logits. Raises CheckpointError.

    One label gets a sigmoid, unless the problem is a regression, and several get a softmax where nothing is said.
    """
    given = fields_of(config, _LabelConfig)
    if not given.id2label:
        raise CheckpointError(
            "config.json has no id2label; a classifier needs the name of each label",
            hint='add it, such as "id2label": {"0": "negative", "1": "positive"}',
        )
    indices = [str(index) for index in range(len(given.id2label))]
    if set(given.id2label) != set(indices):
        raise CheckpointError(
            f"config.json: id2label has the keys {', '.join(given.id2label)}; they must be 0, 1, 2, …"
        )
    names = tuple(given.id2label[index] for index in indices)
    if len(set(names)) < len(names):
        raise CheckpointError(f"config.json: id2label gives one name to several labels: {', '.join(names)}")
    if given.problem_type not in (None, *PROBLEMS):
        raise CheckpointError(
            f"config.json: problem_type is {given.problem_type!r}; it can be {', '.join(PROBLEMS)}, or null"
        )
    activation = PROBLEMS.get(given.problem_type or "", "softmax")
    return names, "sigmoid" if len(names) == 1 and activation == "softmax" else activation
