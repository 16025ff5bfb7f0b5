"""Logits of sequence classifiers to labels and their probabilities."""

from collections.abc import Sequence as Items

import numpy as np

from openbei.batch import Vectors
from openbei.tasks.finite import check_finite


def probabilities(logits: Vectors, *, is_multi_label: bool) -> Vectors:
    """Probabilities of logits float32 [n, num_labels], in the same shape.

    One label alone, or several of which any may hold (`is_multi_label`): a sigmoid each. Otherwise a softmax over the
    row. Raises EngineError where a logit is not finite.
    """
    check_finite(logits)
    return sigmoid(logits) if is_multi_label or logits.shape[1] == 1 else softmax(logits)


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
