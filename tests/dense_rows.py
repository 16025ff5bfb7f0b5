"""Term weights as an array with a column for each word of the vocabulary."""

import numpy as np

from openbei.batch import SparseVectors, Vectors


def dense_rows(sparse: SparseVectors) -> Vectors:
    """float32 [rows, width]."""
    dense = np.zeros((len(sparse), sparse.width), np.float32)
    dense[np.repeat(np.arange(len(sparse)), np.diff(sparse.cu_terms)), sparse.indices] = sparse.values
    return dense
