"""Lists of terms."""

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
def test_terms_of_each_row_ascend(dense: np.ndarray) -> None:
    expected = [[(i, float(weight)) for i, weight in enumerate(row) if weight] for row in dense]
    assert terms(SparseVectors.of(dense)) == expected
    assert terms(SparseVectors.of(dense)[1:]) == expected[1:]
