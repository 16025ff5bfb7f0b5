"""Cosines of embeddings."""

import numpy as np

from openbei.batch import Vectors
from openbei.tasks.embed import finish


def cosine(source: Vectors, others: Vectors) -> Vectors:
    """Cosine of `source`, float32 [D], to each row of `others`, float32 [n, D]; float32 [n].

    With a zero vector it is 0. Raises EngineError where a value is not finite.
    """
    return pairwise(source[np.newaxis], others)


def pairwise(left: Vectors, right: Vectors) -> Vectors:
    """Cosine of each row of `left` to that row of `right`, both float32 [n, D], or one of them [1, D]; float32 [n].

    With a zero vector it is 0. Raises EngineError where a value is not finite.
    """
    products = (finish(left, normalize=True) * finish(right, normalize=True)).sum(axis=1)
    cosines: Vectors = np.clip(products, -1, 1)
    return cosines
