"""Quantized embeddings: binary against sentence-transformers, 8 bits by their properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from openbei.errors import InputError
from openbei.tasks.precision import quantize

some_vectors = arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.sampled_from([8, 24, 64])),
    elements=st.floats(-1, 1, width=32) | st.just(0.0),
)


@settings(deadline=None)
@given(some_vectors, st.sampled_from(["binary", "ubinary"]))
def test_binary_matches_sentence_transformers(vectors: np.ndarray, precision: str) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    found, expected = quantize(vectors, precision), quantize_embeddings(vectors, precision)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(some_vectors)
def test_each_vector_uses_the_full_range(vectors: np.ndarray) -> None:
    signed, unsigned = quantize(vectors, "int8"), quantize(vectors, "uint8")
    assert (signed.dtype, unsigned.dtype) == (np.int8, np.uint8)
    np.testing.assert_array_equal(unsigned.astype(int) - 128, signed)
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64)
    np.testing.assert_array_equal(np.abs(signed.astype(int)).max(axis=1), np.where(largest[:, 0] > 0, 127, 0))
    np.testing.assert_allclose(signed / 127 * largest, vectors, atol=float(largest.max()) * (0.5 / 127 + 1e-6))


def test_halves_are_rounded_to_even() -> None:
    vectors = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127], [0] * 8], np.float32)
    assert quantize(vectors, "int8").tolist() == [[127, 0, 2, 2, 0, -2, -2, -127], [0] * 8]


def test_direction_is_kept() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 384), dtype=np.float32)
    quantized = quantize(vectors, "int8").astype(np.float32)
    cosines = (vectors * quantized).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(quantized, axis=1)
    assert cosines.min() > 0.9998


def test_float_is_unchanged() -> None:
    vectors = np.ones((2, 3), np.float32)
    assert quantize(vectors, "float") is vectors


@pytest.mark.parametrize("precision", ["binary", "ubinary"])
def test_binary_needs_a_multiple_of_eight(precision: str) -> None:
    with pytest.raises(InputError, match="dimensions is 20; binary embeddings need a multiple of 8") as caught:
        quantize(np.ones((1, 20), np.float32), precision)
    assert caught.value.param == "dimensions"
    assert caught.value.hint == "request 16 dimensions"
