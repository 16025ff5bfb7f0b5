"""Post-processing for late interaction: vectors of tokens, and MaxSim of queries and documents."""

import numpy as np

from openbei.batch import Sequence, Vectors
from openbei.late_interaction import LateInteraction
from openbei.tasks.finite import check_finite


def token_vectors(rows: Vectors, sequence: Sequence, late: LateInteraction, *, is_query: bool) -> Vectors:
    """The vectors of a query or document, float32 [n, D], from the rows of its tokens [num_tokens, D].

    Tokens of documents in `skipped_ids` have none. Raises EngineError if a number is not finite.
    """
    check_finite(rows)
    return rows if is_query else rows[~np.isin(sequence.token_ids, late.skipped_ids)]


def max_sim(query: Vectors, document: Vectors, *, is_mean: bool = False) -> float:
    """For each vector of the query [n, D] the largest product with one of the document [m, D]: their sum, or mean.

    0 if either has no vectors.
    """
    if not len(query) or not len(document):
        return 0.0
    largest: Vectors = (query @ document.T).max(axis=1)
    return float(largest.mean() if is_mean else largest.sum())
