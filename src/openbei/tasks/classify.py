"""Logits of sequence classifiers to labels and their scores."""

from collections.abc import Sequence as Items

import numpy as np

from openbei.batch import ScoreActivation, Vectors
from openbei.tasks.finite import check_finite


def activated(logits: Vectors, activation: ScoreActivation) -> Vectors:
    """Scores of logits float32 [n, num_labels], in the same shape. Raises EngineError where a logit is not finite."""
    check_finite(logits)
    match activation:
        case "sigmoid":
            return sigmoid(logits)
        case "softmax":
            return softmax(logits)
        case "none":
            return logits


def ranked(labels: Items[str], scores: Vectors) -> list[tuple[str, float]]:
    """Labels and their scores, float32 [num_labels], the highest first; equal ones in the order of `labels`."""
    return [(labels[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]


def sigmoid(logits: Vectors) -> Vectors:
    """1 / (1 + exp(-x)), also where that exponential is too large for float32."""
    logistic: Vectors = np.exp(-np.logaddexp(np.float32(0), -logits))
    return logistic


def softmax(logits: Vectors) -> Vectors:
    """exp(x) / Σ exp(x) over the last axis, float32; only differences are exponentiated."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Vectors = powers / powers.sum(axis=-1, keepdims=True)
    return shares
