"""Relevance scores from one or two logits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from openbei.errors import EngineError
from openbei.prompts import ScoreTemplate
from openbei.tasks.classify import apply_activation
from openbei.tasks.rerank import relevance

logits_of = {
    width: arrays(np.float32, st.tuples(st.integers(1, 5), st.just(width)), elements=st.floats(-50, 50, width=32))
    for width in (1, 2)
}
template_of = {positive: ScoreTemplate(prefix="", suffix="", positive=positive) for positive in (0, 1)}


@settings(deadline=None)
@given(logits_of[1], st.sampled_from([None, template_of[0]]))
def test_one_label(logits: np.ndarray, template: ScoreTemplate | None) -> None:
    np.testing.assert_array_equal(relevance(logits, template, True), logits[:, 0])
    expected = apply_activation(logits, "sigmoid")[:, 0]
    np.testing.assert_array_equal(relevance(logits, template, False), expected)


@settings(deadline=None)
@given(logits_of[2], st.sampled_from([0, 1]))
def test_two_labels(logits: np.ndarray, positive: int) -> None:
    template = template_of[positive]
    expected = apply_activation(logits, "softmax")[:, positive]
    np.testing.assert_allclose(relevance(logits, template, False), expected, rtol=1e-4)
    difference = logits[:, positive] - logits[:, 1 - positive]
    np.testing.assert_array_equal(relevance(logits, template, True), difference)


@pytest.mark.parametrize("raw_scores", [True, False])
def test_not_finite(raw_scores: bool) -> None:
    with pytest.raises(EngineError, match="not finite"):
        relevance(np.array([[1], [np.nan]], np.float32), None, raw_scores)
