"""The figures that compare a quantized model with the original, against numpy and scipy, and the texts."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau

from openbei import accuracy
from openbei.accuracy import COMPARISONS, Texts
from openbei.errors import InputError

rng = np.random.default_rng(5)


def vectors(count: int, noise: float = 0.0) -> Any:
    exact = np.random.default_rng(1).normal(size=(count, 8)) + 1
    return (exact + noise * rng.normal(size=exact.shape)).astype(np.float32)


def test_embeddings() -> None:
    one, other = (vectors(12), vectors(40)), (vectors(12, 0.1), vectors(40, 0.1))
    found = COMPARISONS["embedding"].compare(one, other)
    both, others = np.concatenate(one), np.concatenate(other)
    lengths = np.linalg.norm(both, axis=1) * np.linalg.norm(others, axis=1)
    cosines = (both * others).sum(axis=1) / lengths
    assert found["mean cosine"] == pytest.approx(cosines.mean(), abs=1e-6)
    assert found["worst cosine"] == pytest.approx(cosines.min(), abs=1e-6)
    assert found["mean cosine after subtracting the mean"] < found["mean cosine"] < 1
    top = [
        [set(np.argsort([-q @ d / np.linalg.norm(d) for d in documents])[:10]) for q in queries]
        for queries, documents in (one, other)
    ]
    overlap = np.mean([len(a & b) / 10 for a, b in zip(*top, strict=True)])
    assert found["top-10 overlap"] == pytest.approx(overlap)
    assert COMPARISONS["embedding"].compare(one, one) == pytest.approx(dict.fromkeys(found, 1))


def test_zero_vectors_are_equal() -> None:
    zeros = np.zeros((2, 4), np.float32), np.zeros((11, 4), np.float32)
    assert COMPARISONS["embedding"].compare(zeros, zeros)["worst cosine"] == 1


@pytest.mark.parametrize("seed", range(20))
def test_scores(seed: int) -> None:
    generator = np.random.default_rng(seed)
    one = [generator.integers(0, 6, 9).astype(np.float32) for _ in range(3)]
    other = [generator.integers(0, 6, 9).astype(np.float32) for _ in range(3)]
    expected = np.mean([kendalltau(a, b).statistic for a, b in zip(one, other, strict=True)])
    found = COMPARISONS["reranker"].compare(one, other)
    assert found["Kendall's tau"] == pytest.approx(expected)
    assert found["largest change of a score"] == np.abs(np.array(one) - np.array(other)).max()


def test_labels() -> None:
    one = [{"a": 0.6, "b": 0.4}, {"a": 0.3, "b": 0.7}]
    other = [{"a": 0.45, "b": 0.55}, {"a": 0.3, "b": 0.7}]
    found = COMPARISONS["classifier"].compare(one, other)
    assert found == {"same best label": 0.5, "largest change of a score": pytest.approx(0.15)}


def test_terms() -> None:
    one, other = [{1: 3.0, 5: 4.0}, {}], [{1: 4.0, 7: 3.0}, {}]
    found = COMPARISONS["sparse"].compare(one, other)
    assert found == {
        "mean cosine": pytest.approx((12 / 25 + 1) / 2),
        "worst cosine": pytest.approx(12 / 25),
        "overlap of terms": pytest.approx((1 / 3 + 1) / 2),
    }


def test_entities() -> None:
    one, other = [(0, 3, "PER"), (1, 0, "LOC")], [(0, 3, "ORG"), (1, 0, "LOC"), (1, 9, "PER")]
    assert COMPARISONS["token_classifier"].compare(one, other) == {"F1 of labelled tokens": pytest.approx(2 / 5)}
    assert COMPARISONS["token_classifier"].compare([], []) == {"F1 of labelled tokens": 1}


def test_the_carried_texts_are_distinct_and_of_many_lengths() -> None:
    texts = Texts.read(None)
    assert len(texts.documents) >= 500
    assert len(texts.queries) == 100
    every = [*texts.documents, *texts.queries]
    assert len({text.lower() for text in every}) == len(every)
    assert all(text == unicodedata.normalize("NFC", text).strip() for text in every)
    lengths = [len(text.split()) for text in texts.documents]
    assert np.percentile(lengths, 90) > 60 > 10 > np.percentile(lengths, 10)
    assert sum("\n" in text for text in texts.documents) > 20, "code has lines"


def test_own_texts(tmp_path: Path) -> None:
    lines = [f"text {i}" for i in range(30)]
    (tmp_path / "texts.txt").write_text("\n\n".join(lines))
    texts = Texts.read(tmp_path / "texts.txt")
    assert texts == Texts(lines, lines[::5])
    (tmp_path / "texts.txt").write_text("\n".join(lines[:19]))
    with pytest.raises(InputError, match=r"has 19 texts; at least 20 are needed"):
        Texts.read(tmp_path / "texts.txt")
    (tmp_path / "texts.txt").write_bytes(b"\xff" * 50)
    with pytest.raises(InputError, match="cannot be read as UTF-8"):
        Texts.read(tmp_path / "texts.txt")
    assert accuracy.TEXTS.is_dir()
