"""`openbei.comparison`: a float32 and a quantized engine against numpy in float64, and models that do not compare."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from openbei.accuracy import Texts
from openbei.comparison import NUM_WORST, Results, check_comparable, compare, rank_changes, results_of
from openbei.engine_dir import EngineDir
from openbei.errors import InputError
from openbei.model import Model
from openbei.spec import SequenceHead, TermHead, TokenHead

from .api.conftest import small_manifest
from .checkpoint import build_engine
from .prose import texts

DOCUMENTS = texts(40, longest=40)
TEXTS = Texts(DOCUMENTS, DOCUMENTS[::5])

Sides = tuple[Results, Results]


@pytest.fixture(scope="module")
def sides(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """The results of a model in float32, and with fp4 weights."""
    folder = tmp_path_factory.mktemp("compared")
    engines = (
        build_engine(tiny_checkpoint, folder / "exact"),
        build_engine(tiny_checkpoint, folder / "fp4", dtype="bfloat16", quantization="fp4"),
    )
    results = []
    for engine_dir in engines:
        with Model(engine_dir.path) as model:
            results.append(results_of(model, TEXTS, progress=False))
    return results[0], results[1]


def test_against_numpy(sides: Sides) -> None:
    one, other = ([each.astype(np.float64) for each in side.answer] for side in sides)
    both, others = np.concatenate(one), np.concatenate(other)
    cosines = (both * others).sum(1) / np.linalg.norm(both, axis=1) / np.linalg.norm(others, axis=1)
    differences = compare(*sides, TEXTS)
    figures = differences.figures
    assert figures["mean cosine"] == pytest.approx(cosines.mean(), abs=1e-7)
    assert figures["worst cosine"] == pytest.approx(cosines.min(), abs=1e-7)
    assert cosines.min() < 0.9999
    expected: dict[str, list[float]] = {"overlap": [], "same": [], "change": []}
    for i, query in enumerate(TEXTS.queries):
        ranks = []
        for queries, documents in (one, other):
            similar = documents @ queries[i] / np.linalg.norm(documents, axis=1)
            similar[DOCUMENTS.index(query)] = -np.inf
            ranks.append(rankdata(-similar, method="ordinal"))
        best, other_best = (set(np.flatnonzero(each <= 10)) for each in ranks)
        expected["overlap"].append(len(best & other_best) / 10)
        expected["same"].append(float(ranks[0].argmin() == ranks[1].argmin()))
        expected["change"] += [abs(float(ranks[0][n] - ranks[1][n])) for n in best]
    assert figures["top-10 overlap"] == pytest.approx(np.mean(expected["overlap"]))
    assert figures["same best document"] == pytest.approx(np.mean(expected["same"]))
    assert figures["mean change of rank, top 10"] == pytest.approx(np.mean(expected["change"]))
    assert figures["largest change of rank, top 10"] == max(expected["change"]) > 0


def test_worst_texts(sides: Sides) -> None:
    """Each of them once, though queries are also documents here."""
    both, others = (side.answer[1].astype(np.float64) for side in sides)
    cosines = (both * others).sum(1) / np.linalg.norm(both, axis=1) / np.linalg.norm(others, axis=1)
    worst = compare(*sides, TEXTS).worst
    assert [text for text, _ in worst] == [DOCUMENTS[i] for i in np.argsort(cosines)[:NUM_WORST]]
    assert [cosine for _, cosine in worst] == pytest.approx(np.sort(cosines)[:NUM_WORST], abs=1e-7)


def test_embeddings_of_different_sizes(sides: Sides) -> None:
    """Only rankings are compared."""
    one, _ = sides
    narrow = Results(one.manifest, tuple(vectors[:, :32] for vectors in one.answer))
    differences = compare(one, narrow, TEXTS)
    assert [*differences.figures] == [
        *("top-10 overlap", "same best document", "mean change of rank, top 10", "largest change of rank, top 10")
    ]
    assert differences.worst == []


def test_rank_changes() -> None:
    one = [np.array([0.9, 0.5, 0.5, 0.1]), np.array([1.0, 2.0])]
    other = [np.array([0.4, 0.5, 0.3, 0.2]), np.array([1.0, 2.0])]
    assert rank_changes(one, other) == {
        "top-10 overlap": 1.0,
        "same best document": 0.5,
        "mean change of rank, top 10": 2 / 6,
        "largest change of rank, top 10": 1.0,
    }
    ascending = np.arange(20.0)
    reverse = rank_changes([ascending], [-ascending])
    assert reverse["top-10 overlap"] == 0
    assert reverse["mean change of rank, top 10"] == np.mean([19 - 2 * rank for rank in range(10)])


def test_term_weights() -> None:
    """Documents are ranked by the product of their weights with the query's, and not for themselves."""
    manifest = small_manifest(TermHead())
    given = Texts(["a", "b", "c"], ["a"])
    one = [{1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}, {1: 3.0}, {2: 1.0}]
    other = [{1: 1.0, 2: 2.0}, {1: 1.0, 2: 2.0}, {1: 1.0}, {2: 1.0}]
    figures = compare(Results(manifest, one), Results(manifest, other), given).figures
    assert figures["same best document"] == 0
    assert figures["largest change of rank, top 10"] == 1
    assert figures["mean cosine"] == pytest.approx(1)


def test_rerankers() -> None:
    manifest = small_manifest(SequenceHead(num_labels=1))
    one, other = [np.array([0.9, 0.1, 0.5])], [np.array([0.9, 0.6, 0.5])]
    figures = compare(Results(manifest, one), Results(manifest, other), TEXTS).figures
    assert figures["Kendall's tau"] == pytest.approx(1 / 3)
    assert figures["largest change of a score"] == pytest.approx(0.5)
    assert figures["largest change of rank, top 10"] == 1


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ((None, {}), (SequenceHead(num_labels=1), {}), "different tasks: embedding and reranker"),
        (
            (SequenceHead(num_labels=2), {"labels": ("a", "b")}),
            (SequenceHead(num_labels=2), {"labels": ("a", "c")}),
            "different labels: a, b and a, c",
        ),
        (
            (TokenHead(num_labels=2), {"labels": ("O", "B")}),
            (TokenHead(num_labels=1), {"labels": ("O",)}),
            "different labels: O, B and O",
        ),
    ],
)
def test_models_that_cannot_be_compared(one: Any, other: Any, message: str) -> None:
    manifests = [small_manifest(head, **fields) for head, fields in (one, other)]
    with pytest.raises(InputError, match=message):
        check_comparable(*manifests)


def test_equal_models(tiny_engine_dir: EngineDir) -> None:
    check_comparable(tiny_engine_dir.manifest, tiny_engine_dir.manifest)
    answer = (np.eye(4, dtype=np.float32)[:1], np.eye(4, dtype=np.float32))
    same = Results(tiny_engine_dir.manifest, answer)
    figures = compare(same, same, Texts(["a", "b", "c", "d"], ["e"])).figures
    assert figures["worst cosine"] == figures["top-10 overlap"] == figures["same best document"] == 1
    assert figures["largest change of rank, top 10"] == 0
