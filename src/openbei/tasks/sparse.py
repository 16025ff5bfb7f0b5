"""Term weights as lists of terms."""

from heapq import nlargest
from itertools import pairwise
from operator import itemgetter

import numpy as np

from openbei.batch import SparseVectors


def terms(
    sparse: SparseVectors, *, max_terms: int | None = None, logs_twice: bool = False
) -> list[list[tuple[int, float]]]:
    """Token id and weight of each term of each row, by ascending id.

    `max_terms` keeps those of most weight. `logs_twice` gives log(1 + weight): the engine has taken one logarithm, and
    neither the maximum over tokens nor the order of terms depends on another (arXiv:2504.14839).
    """
    values = np.log1p(sparse.values) if logs_twice else sparse.values
    pairs = list(zip(sparse.indices.tolist(), values.tolist(), strict=True))
    rows = [pairs[start:stop] for start, stop in pairwise(sparse.cu_terms.tolist())]
    return rows if max_terms is None else [sorted(nlargest(max_terms, row, key=itemgetter(1))) for row in rows]
