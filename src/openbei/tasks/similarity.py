"""Cosine similarity of embeddings."""

import numpy as np

from openbei.batch import Vectors
from openbei.tasks.embed import to_embeddings


def cosine(source: Vectors, others: Vectors) -> Vectors:
    """Cosines of `source`, float32 [D], with each row of `others`, float32 [n, D]; see `pairwise`."""
    return pairwise(source[np.newaxis], others)


def pairwise(left: Vectors, right: Vectors) -> Vectors:
    """Cosines float32 [n] of corresponding rows, float32 [n, D]; one argument may be [1, D].

    The cosine with a zero vector is 0. Raises EngineError if a value is not finite.
    """
    products = (to_embeddings(left, normalize=True) * to_embeddings(right, normalize=True)).sum(axis=1)
    cosines: Vectors = np.clip(products, -1, 1)
    return cosines
