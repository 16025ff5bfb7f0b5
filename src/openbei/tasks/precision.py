"""Embeddings in fewer bits: integers of 8 bits, or one bit for each dimension."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbei.batch import Vectors
from openbei.errors import InputError

Precision = Literal["float", "int8", "uint8", "binary", "ubinary"]
"""What the numbers of an embedding are sent as."""

Quantized = Vectors | NDArray[np.int8] | NDArray[np.uint8]


def quantize(vectors: Vectors, precision: Precision) -> Quantized:
    """Embeddings float32 [n, D] in a precision: int8 or uint8 [n, D], for binary ones [n, D / 8].

    int8: each vector is scaled by its own largest magnitude to -127..127 and rounded, half to even. Its length is lost,
    its direction is what cosine looks at; zero stays zero. uint8: the same plus 128.
    ubinary: a bit for each dimension, 1 where it is positive, the first the highest of its byte. binary: the same minus
    128. Both are those of sentence-transformers' `quantize_embeddings`. `float` gives the vectors back.

    Raises InputError for binary precisions where D is not a multiple of 8.
    """
    match precision:
        case "float":
            return vectors
        case "int8":
            return _scaled(vectors)
        case "uint8":
            return _moved(_scaled(vectors).view(np.uint8))
        case "ubinary":
            return _bits(vectors)
        case "binary":
            return _moved(_bits(vectors)).view(np.int8)


def _scaled(vectors: Vectors) -> NDArray[np.int8]:
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return np.rint(vectors / np.where(largest == 0, np.float32(1), largest) * np.float32(127)).astype(np.int8)


def _bits(vectors: Vectors) -> NDArray[np.uint8]:
    num_dimensions = vectors.shape[1]
    if num_dimensions % 8:
        raise InputError(
            f"dimensions is {num_dimensions}; binary embeddings need a multiple of 8",
            param="dimensions",
            hint=f"ask for {num_dimensions // 8 * 8 or 8} dimensions",
        )
    return np.packbits(vectors > 0, axis=1)


def _moved(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half of the range away: -128 becomes 0, or 0 becomes -128, in two's complement."""
    return numbers ^ np.uint8(128)
