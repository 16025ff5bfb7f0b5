"""Term weights as lists of terms."""

from itertools import pairwise

from openbei.batch import SparseVectors


def terms(sparse: SparseVectors) -> list[list[tuple[int, float]]]:
    """Token id and weight of each term of each row, by ascending id."""
    pairs = list(zip(sparse.indices.tolist(), sparse.values.tolist(), strict=True))
    cuts = sparse.cu_terms.tolist()
    return [pairs[start:stop] for start, stop in pairwise(cuts)]
