"""Logits of rerankers to relevance."""

from openbei.batch import Vectors
from openbei.prompts import ScoreTemplate
from openbei.tasks.classify import sigmoid
from openbei.tasks.finite import check_finite


def relevance(logits: Vectors, template: ScoreTemplate | None, raw_scores: bool) -> Vectors:
    """Relevance of each text, float32 [n], of logits float32 [n, 1], or [n, 2] of a reranker with a template.

    The sigmoid of the logit; `raw_scores` gives the logit itself, which is the score of a regression as well. With two
    labels the logit is that of the positive one less that of the other, whose sigmoid is the positive one's softmax.
    Raises EngineError where a logit is not finite.
    """
    check_finite(logits)
    scores: Vectors = logits[:, 0]
    if template is not None and logits.shape[1] == 2:
        scores = logits[:, template.positive] - logits[:, 1 - template.positive]
    return scores if raw_scores else sigmoid(scores)
