"""Post-processing for embeddings: truncation to `dimensions`, and normalization."""

import numpy as np

from openbei.batch import Vectors
from openbei.errors import InputError
from openbei.tasks.finite import check_finite


def check_dimensions(dimensions: int | None, width: int) -> None:
    """Raise InputError unless `dimensions` is None or 1 to `width`."""
    if dimensions is not None and not 1 <= dimensions <= width:
        raise InputError(f"dimensions is {dimensions}; it must be 1 to {width}", param="dimensions")


def to_embeddings(vectors: Vectors, *, normalize: bool, dimensions: int | None = None) -> Vectors:
    """Embeddings float32 [n, dimensions or width] from pooled vectors float32 [n, width].

    Truncation comes before normalization, as for Matryoshka models (Kusupati et al., arXiv:2205.13147). A zero vector
    stays zero. Raises EngineError if a value is not finite.
    """
    if dimensions is not None:
        vectors = vectors[:, :dimensions]
    lengths: Vectors = np.sqrt(np.add.reduce(vectors * vectors, axis=1, keepdims=True))  # as np.linalg.norm, faster
    check_finite(lengths)
    if not normalize:
        return vectors
    nonzero: Vectors = np.maximum(lengths, np.finfo(np.float32).tiny, dtype=np.float32)
    return vectors / nonzero
