"""Post-processing for sequence classification: logits to labels and scores."""

from collections.abc import Sequence as Items

import msgspec
import numpy as np

from openbei.batch import ScoreActivation, Vectors
from openbei.tasks.finite import check_finite


class Label(msgspec.Struct, frozen=True):
    """A label of a classifier, and its probability or logit."""

    label: str
    score: float


def apply_activation(logits: Vectors, activation: ScoreActivation) -> Vectors:
    """Scores of logits, both float32 [n, num_labels]. Raises EngineError if a logit is not finite."""
    check_finite(logits)
    match activation:
        case "sigmoid":
            return sigmoid(logits)
        case "softmax":
            return softmax(logits)
        case "none":
            return logits


def sorted_labels(labels: Items[str], scores: Vectors) -> list[Label]:
    """Labels with their scores, float32 [num_labels], highest first. Ties keep the order of `labels`."""
    return [Label(labels[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]


def sigmoid(logits: Vectors) -> Vectors:
    """1 / (1 + exp(-x)), without overflow."""
    probabilities: Vectors = np.exp(-np.logaddexp(np.float32(0), -logits))
    return probabilities


def softmax(logits: Vectors) -> Vectors:
    """exp(x) / Σ exp(x) over the last axis, float32, without overflow."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Vectors = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
