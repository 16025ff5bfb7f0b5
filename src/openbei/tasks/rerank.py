"""Post-processing for reranking: logits to relevance scores."""

from openbei.batch import Vectors
from openbei.prompts import ScoreTemplate
from openbei.tasks.classify import sigmoid
from openbei.tasks.finite import check_finite


def relevance(logits: Vectors, template: ScoreTemplate | None, raw_scores: bool) -> Vectors:
    """Relevance scores float32 [n] from logits float32 [n, 1], or [n, 2] for a reranker with a template.

    A score is the sigmoid of the logit, or with `raw_scores` the logit itself. With two labels, the logit is the
    positive label's minus the other's; its sigmoid equals the positive label's softmax. Raises EngineError if a logit
    is not finite.
    """
    check_finite(logits)
    scores: Vectors = logits[:, 0]
    if template is not None and logits.shape[1] == 2:
        scores = logits[:, template.positive] - logits[:, 1 - template.positive]
    return scores if raw_scores else sigmoid(scores)
