"""Post-processing of embeddings."""

import numpy as np
import pytest

from openbei.errors import EngineError, InputError
from openbei.tasks.embed import check_dimensions, to_embeddings


def pooled(n: int = 4, d: int = 8) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)


def test_normalized() -> None:
    vectors = to_embeddings(pooled(), normalize=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_not_normalized() -> None:
    np.testing.assert_array_equal(to_embeddings(pooled(), normalize=False), pooled())


def test_truncated_and_then_normalized() -> None:
    truncated = to_embeddings(pooled(), normalize=True)[:, :3]
    expected = truncated / np.linalg.norm(truncated, axis=1, keepdims=True)
    np.testing.assert_allclose(to_embeddings(pooled(), normalize=True, dimensions=3), expected, rtol=1e-5)


def test_zero_stays_zero() -> None:
    np.testing.assert_array_equal(to_embeddings(np.zeros((1, 4), np.float32), normalize=True), np.zeros((1, 4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalize", [True, False])
def test_not_finite(bad: float, normalize: bool) -> None:
    vectors = pooled()
    vectors[2, 5] = bad
    with pytest.raises(EngineError, match="not finite"):
        to_embeddings(vectors, normalize=normalize)


@pytest.mark.parametrize("dimensions", [0, -1, 9, 10**30])
def test_dimensions_out_of_range(dimensions: int) -> None:
    with pytest.raises(InputError, match=rf"dimensions is {dimensions}; it must be 1 to 8"):
        check_dimensions(dimensions, 8)


def test_dimensions_in_range() -> None:
    for dimensions in (None, 1, 8):
        check_dimensions(dimensions, 8)
