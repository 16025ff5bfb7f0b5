"""Conversion of sparse term weights to dense arrays."""

import numpy as np

from openbei.batch import SparseVectors, Vectors


def dense_rows(sparse: SparseVectors) -> Vectors:
    """Dense term weights, float32 [rows, vocab_size]."""
    dense = np.zeros((len(sparse), sparse.width), np.float32)
    dense[np.repeat(np.arange(len(sparse)), np.diff(sparse.cu_terms)), sparse.indices] = sparse.values
    return dense
