"""Post-processing for sparse embeddings: term weights to lists of terms."""

from heapq import nlargest
from itertools import pairwise
from operator import itemgetter

import numpy as np

from openbei.batch import SparseVectors


def terms(
    sparse: SparseVectors, *, max_terms: int | None = None, double_log: bool = False
) -> list[list[tuple[int, float]]]:
    """Token ids and weights of each row's terms, by ascending id.

    `max_terms` keeps the terms with the largest weights. `double_log` applies a second logarithm, log(1 + weight)
    (arXiv:2504.14839), which commutes with the engine's max pooling because it is monotonic.
    """
    values = np.log1p(sparse.values) if double_log else sparse.values
    pairs = list(zip(sparse.indices.tolist(), values.tolist(), strict=True))
    rows = [pairs[start:stop] for start, stop in pairwise(sparse.cu_terms.tolist())]
    return rows if max_terms is None else [sorted(nlargest(max_terms, row, key=itemgetter(1))) for row in rows]
