"""How tests compare embeddings: the worst cosine, with and without the mean subtracted, and the ratio of lengths.

Embeddings of one model lie in a narrow cone, so cosines are high even for wrong results; subtracting the mean exposes
them. A cosine cannot detect an error of scale, so lengths are compared as well.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def worst_cosine(found: Floats, expected: Floats) -> float:
    """The lowest cosine of two corresponding rows [n, D], reduced if lengths differ: by 0.001 for each percent."""
    return float(np.min([worst_direction(found, expected), 1 - (1 - worst_ratio(found, expected)) / 10]))


def worst_direction(found: Floats, expected: Floats) -> float:
    """The lowest cosine of two corresponding rows; of three or more rows, also with the mean subtracted."""
    cosines = [worst_plain_cosine(found, expected)]
    if len(found) > 2:
        cosines.append(worst_centred_cosine(found, expected))
    return float(np.min(cosines))  # unlike min(), propagates NaN, which fails comparisons


def worst_ratio(found: Floats, expected: Floats) -> float:
    """The lowest ratio of the lengths of two corresponding rows, shorter to longer."""
    a, b = (np.linalg.norm(np.asarray(rows, np.float64), axis=1) for rows in (found, expected))
    return float((np.minimum(a, b) / np.maximum(a, b)).min())


def worst_plain_cosine(found: Floats, expected: Floats) -> float:
    """The lowest cosine of two corresponding rows [n, D]."""
    assert found.shape == expected.shape
    assert len(found)
    assert np.isfinite(found).all()
    return lowest_cosine(unit(found), unit(expected))


def worst_centred_cosine(found: Floats, expected: Floats) -> float:
    """The lowest cosine of two corresponding rows, normalized and with the mean of `expected` subtracted."""
    a, b = unit(found), unit(expected)
    mean = b.mean(axis=0)
    return lowest_cosine(unit(a - mean), unit(b - mean))


def unit(rows: Floats) -> Floats:
    """Normalized rows, in float64."""
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def lowest_cosine(a: Floats, b: Floats) -> float:
    """The lowest cosine of two corresponding normalized rows."""
    return float((a * b).sum(axis=1).min())
