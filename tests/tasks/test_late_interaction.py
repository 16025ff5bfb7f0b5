"""MaxSim against its definition in float64, and the tokens of documents that have no vector."""

import numpy as np
import pytest

from openbei.batch import Sequence
from openbei.errors import EngineError
from openbei.late_interaction import LateInteraction
from openbei.tasks.late_interaction import max_sim, token_vectors

LATE = LateInteraction(query_length=8, document_length=8, skipped_ids=(3, 5))


def test_max_sim() -> None:
    rng = np.random.default_rng(1)
    query, document = (rng.standard_normal((n, 16)).astype(np.float32) for n in (5, 9))
    exact = sum(max(float(q.astype(np.float64) @ d) for d in document) for q in query)
    assert max_sim(query, document) == pytest.approx(exact, rel=1e-5)
    assert max_sim(query, document, is_mean=True) == pytest.approx(exact / 5, rel=1e-5)


def test_nothing_matches_a_text_without_vectors() -> None:
    some, none = np.ones((2, 4), np.float32), np.empty((0, 4), np.float32)
    assert max_sim(some, none) == max_sim(none, some) == max_sim(none, none, is_mean=True) == 0


def test_skipped_tokens() -> None:
    sequence = Sequence(np.array([1, 3, 4, 5, 5], np.int32), 5)
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    np.testing.assert_array_equal(token_vectors(rows, sequence, LATE, is_query=True), rows)
    np.testing.assert_array_equal(token_vectors(rows, sequence, LATE, is_query=False), rows[[0, 2]])
    everything = Sequence(np.array([3, 5], np.int32), 2)
    assert token_vectors(rows[:2], everything, LATE, is_query=False).shape == (0, 2)


def test_numbers_that_are_not_finite() -> None:
    rows = np.full((1, 2), np.nan, np.float32)
    with pytest.raises(EngineError):
        token_vectors(rows, Sequence(np.array([1], np.int32), 1), LATE, is_query=True)
