"""Lists of terms from sparse vectors."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from openbei.batch import SparseVectors
from openbei.tasks.sparse import terms


@settings(deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=9),
        elements=st.sampled_from([0.0, 0.0, 0.5, 1.25]),
    )
)
def test_terms_are_sorted_by_id(dense: np.ndarray) -> None:
    expected = [[(i, float(weight)) for i, weight in enumerate(row) if weight] for row in dense]
    assert terms(SparseVectors.of(dense)) == expected
    assert terms(SparseVectors.of(dense)[1:]) == expected[1:]


def test_max_terms_keeps_the_largest_weights() -> None:
    sparse = SparseVectors.of(np.array([[0.5, 0, 2, 1, 0.25], [0, 0, 0, 0.5, 0]], np.float32))
    assert terms(sparse, max_terms=2) == [[(2, 2.0), (3, 1.0)], [(3, 0.5)]]


def test_second_logarithm() -> None:
    sparse = SparseVectors.of(np.array([[0, np.e - 1, 0.5]], np.float32))
    [row] = terms(sparse, double_log=True)
    assert [index for index, _ in row] == [1, 2]
    np.testing.assert_allclose([weight for _, weight in row], [1, np.log(1.5)], rtol=1e-6)
