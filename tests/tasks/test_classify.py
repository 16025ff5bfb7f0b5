"""Activations of logits, and the order of labels."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from openbei.batch import ScoreActivation
from openbei.errors import EngineError
from openbei.tasks.classify import apply_activation, sorted_labels

some_logits = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-20, 20, width=32),
)


@settings(deadline=None)
@given(some_logits, st.sampled_from(get_args(ScoreActivation)))
def test_activations_match_torch(logits: np.ndarray, activation: ScoreActivation) -> None:
    import torch

    found = apply_activation(logits, activation)
    exact = torch.tensor(logits, dtype=torch.float64)
    expected = {"sigmoid": exact.sigmoid(), "softmax": exact.softmax(dim=1), "none": exact}[activation]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-30)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=8))
def test_sorted_labels(scores: list[float]) -> None:
    labels = [f"label {i}" for i in range(len(scores))]
    expected = sorted(zip(labels, scores, strict=True), key=lambda row: -row[1])
    found = sorted_labels(labels, np.array(scores, np.float32))
    assert [(label.label, label.score) for label in found] == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", get_args(ScoreActivation))
def test_not_finite(bad: float, activation: ScoreActivation) -> None:
    with pytest.raises(EngineError, match="the engine returned values that are not finite"):
        apply_activation(np.array([[0, 1], [0, bad]], np.float32), activation)
