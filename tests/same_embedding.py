"""The one definition of "the same embedding": the worst cosine, plain and after subtracting the mean of the set.

Models put all texts into a narrow cone, so that plain cosines are high whatever is wrong. Without the mean they tell.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def worst_cosine(ours: Floats, judge: Floats) -> float:
    """The lowest cosine of a row [n, D] with the judge's; from three rows on also around the judge's mean row."""
    assert ours.shape == judge.shape
    assert len(ours)
    assert np.isfinite(ours).all()
    a, b = unit(ours), unit(judge)
    cosines = [cosine(a, b)]
    if len(ours) > 2:
        cosines.append(cosine(unit(a - b.mean(axis=0)), unit(b - b.mean(axis=0))))
    return float(np.concatenate(cosines).min())


def unit(rows: Floats) -> Floats:
    """Rows of length one, in float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cosine(a: Floats, b: Floats) -> Floats:
    """Of rows of length one."""
    return (a * b).sum(axis=1)
