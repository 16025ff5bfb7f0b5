"""The one definition of "the same embedding": the worst cosine, plain and without the set's mean, and ratio of lengths.

Models put all texts into a narrow cone, so that plain cosines are high whatever is wrong. Without the mean they tell.
No cosine sees an error of scale.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def worst_cosine(ours: Floats, judge: Floats) -> float:
    """The lowest cosine of a row [n, D] with the judge's, or less where lengths differ: 1 % counts as 0.999."""
    return float(np.min([worst_direction(ours, judge), 1 - (1 - worst_ratio(ours, judge)) / 10]))


def worst_direction(ours: Floats, judge: Floats) -> float:
    """The lowest cosine of a row with the judge's; from three rows on also around the judge's mean row."""
    cosines = [worst_plain_cosine(ours, judge)]
    if len(ours) > 2:
        cosines.append(worst_centred_cosine(ours, judge))
    return float(np.min(cosines))  # NaN stays NaN, which is no agreement


def worst_ratio(ours: Floats, judge: Floats) -> float:
    """The ratio of the lengths of a row and the judge's, the smaller to the larger, where they differ most."""
    a, b = (np.linalg.norm(np.asarray(rows, np.float64), axis=1) for rows in (ours, judge))
    return float((np.minimum(a, b) / np.maximum(a, b)).min())


def worst_plain_cosine(ours: Floats, judge: Floats) -> float:
    """The lowest cosine of a row [n, D] with the judge's."""
    assert ours.shape == judge.shape
    assert len(ours)
    assert np.isfinite(ours).all()
    return lowest_cosine(unit(ours), unit(judge))


def worst_centred_cosine(ours: Floats, judge: Floats) -> float:
    """The same of rows of length one, after the mean of the judge's is subtracted from both."""
    a, b = unit(ours), unit(judge)
    mean = b.mean(axis=0)
    return lowest_cosine(unit(a - mean), unit(b - mean))


def unit(rows: Floats) -> Floats:
    """Rows of length one, in float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def lowest_cosine(a: Floats, b: Floats) -> float:
    """Of rows of length one."""
    return float((a * b).sum(axis=1).min())
