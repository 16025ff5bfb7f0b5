"""Cosine similarity."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from openbei.errors import EngineError
from openbei.tasks.similarity import cosine, pairwise

some_vectors = arrays(np.float32, st.tuples(st.integers(1, 6), st.just(7)), elements=st.floats(-10, 10, width=16))


def exact(left: np.ndarray, right: np.ndarray) -> float:
    lengths = np.linalg.norm(left.astype(np.float64)) * np.linalg.norm(right.astype(np.float64))
    return float(np.dot(left.astype(np.float64), right)) / lengths if lengths else 0.0


@settings(deadline=None)
@given(some_vectors)
def test_matches_float64(vectors: np.ndarray) -> None:
    reversed_rows = vectors[::-1]
    found = pairwise(vectors, reversed_rows)
    assert found.dtype == np.float32
    assert (np.abs(found) <= 1).all()
    np.testing.assert_allclose(found, [exact(a, b) for a, b in zip(vectors, reversed_rows, strict=True)], atol=1e-6)
    np.testing.assert_allclose(cosine(vectors[0], vectors), [exact(vectors[0], b) for b in vectors], atol=1e-6)


def test_not_finite() -> None:
    with pytest.raises(EngineError, match="not finite"):
        cosine(np.ones(3, np.float32), np.full((2, 3), np.nan, np.float32))
