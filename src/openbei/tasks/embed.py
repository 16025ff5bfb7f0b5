"""Pooled vectors to embeddings: cut to `dimensions`, normalized."""

import numpy as np

from openbei.batch import Vectors
from openbei.errors import InputError
from openbei.tasks.finite import check_finite


def check_dimensions(dimensions: int | None, width: int) -> None:
    """Raise InputError unless `dimensions` is None or 1 to `width`."""
    if dimensions is not None and not 1 <= dimensions <= width:
        raise InputError(f"dimensions is {dimensions}, it can be 1 to {width}", param="dimensions")


def finish(vectors: Vectors, *, normalize: bool, dimensions: int | None = None) -> Vectors:
    """Make embeddings of pooled vectors float32 [n, width]; returns float32 [n, dimensions or width].

    Cut before they are normalized, as Matryoshka models want it (Kusupati et al., arXiv:2205.13147). A zero vector
    stays zero. Raises EngineError where a value is not finite.
    """
    if dimensions is not None:
        vectors = vectors[:, :dimensions]
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    check_finite(lengths)
    if not normalize:
        return vectors
    scales: Vectors = np.maximum(lengths, np.finfo(np.float32).tiny, dtype=np.float32)
    return vectors / scales
