"""Published embedding models, built as they are, against sentence-transformers in float32."""

import numpy as np
import pytest

from tests.same_embedding import Floats, unit, worst_cosine, worst_plain_cosine
from tests.sentence_chain import encode_each

from .checkpoint import Checkpoint
from .given import SPELLED_OUT, VARIED


@pytest.fixture(scope="module")
def expected(checkpoint: Checkpoint) -> Floats:
    """What sentence-transformers makes of VARIED."""
    return encode_each(checkpoint.judge, VARIED)


def lengths(rows: Floats) -> Floats:
    return np.linalg.norm(rows, axis=1)


def differing(texts: list[str], found: Floats, expected: Floats) -> list[str]:
    """The texts whose vectors have another direction or another length."""
    cosines = (unit(found) * unit(expected)).sum(axis=1)
    same = (cosines >= 0.99999) & (np.abs(lengths(found) / lengths(expected) - 1) <= 1e-5)
    return [text for text, is_same in zip(texts, same, strict=True) if not is_same]


def test_varied_texts(checkpoint: Checkpoint, expected: Floats) -> None:
    found = checkpoint.embed(VARIED, "float32")
    assert differing(VARIED, found, expected) == []
    assert worst_cosine(found, expected) >= 0.99999


def test_spelled_out_special_tokens(checkpoint: Checkpoint) -> None:
    """A tokenizer takes them for what they name, also where a text merely mentions them."""
    found, expected = checkpoint.embed(SPELLED_OUT, "float32"), encode_each(checkpoint.judge, SPELLED_OUT)
    assert differing(SPELLED_OUT, found, expected) == []


def test_bfloat16(checkpoint: Checkpoint, expected: Floats) -> None:
    found = checkpoint.embed(VARIED, "bfloat16")
    assert worst_plain_cosine(found, expected) >= 0.9995
    np.testing.assert_allclose(lengths(found), lengths(expected), rtol=0.01)
