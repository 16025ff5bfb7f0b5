"""Quantization of embeddings to 8-bit integers or single bits."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbei.batch import Vectors
from openbei.errors import InputError

Precision = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""The number format of embeddings in a response."""

Quantized = Vectors | NDArray[np.int8] | NDArray[np.uint8]


def quantize(vectors: Vectors, precision: Precision) -> Quantized:
    """Quantize embeddings float32 [n, D] to int8 or uint8 [n, D], or for binary precisions [n, D / 8].

    float: the vectors themselves.
    int8: each vector is scaled to a largest magnitude of 127 and rounded half to even, which keeps its direction but
    not its length. uint8: int8 plus 128.
    ubinary: one bit per dimension, 1 if positive, most significant bit first. binary: ubinary minus 128, as int8. Both
    match sentence-transformers' `quantize_embeddings`.

    Raises InputError for binary precisions if D is not a multiple of 8.
    """
    match precision:
        case "float":
            return vectors
        case "int8":
            return _to_int8(vectors)
        case "uint8":
            return _flip_sign_bit(_to_int8(vectors).view(np.uint8))
        case "ubinary":
            return _pack_bits(vectors)
        case "binary":
            return _flip_sign_bit(_pack_bits(vectors)).view(np.int8)


def _to_int8(vectors: Vectors) -> NDArray[np.int8]:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return np.rint(vectors / np.where(largest == 0, np.float32(1), largest) * np.float32(127)).astype(np.int8)


def _pack_bits(vectors: Vectors) -> NDArray[np.uint8]:
    num_dimensions = vectors.shape[1]
    if num_dimensions % 8:
        raise InputError(
            f"dimensions is {num_dimensions}; binary embeddings need a multiple of 8",
            param="dimensions",
            hint=f"request {num_dimensions // 8 * 8 or 8} dimensions",
        )
    return np.packbits(vectors > 0, axis=1)


def _flip_sign_bit(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add or subtract 128, in two's complement."""
    return numbers ^ np.uint8(128)
