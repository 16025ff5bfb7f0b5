"""Every method of the Python API against sentence-transformers and transformers, in float32."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei import Model

from .checkpoint import build_engine, save_checkpoint, save_model, update_json, write_chain, write_json
from .clients.conftest import LABELS, MOODS, PROMPTS
from .prose import texts

TEXTS = [*texts(12, longest=40, seed=7), "a", "of the same length", "or of this length"]
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))
CLASSIFIER = "BertForSequenceClassification"
TOLERANCE = 2e-4

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path, tokenizer_json: Path) -> Save:
    """Save a seeded model of an architecture, with the tokenizer's settings of a published one."""

    def save_one(architecture: str, **config: Any) -> Path:
        folder = save_model(tmp_path / "model", tokenizer_json, architecture, **config)
        update_json(folder / "tokenizer_config.json", model_max_length=128)
        return folder

    return save_one


@pytest.fixture
def embedder(tmp_path: Path, tokenizer_json: Path) -> Path:
    """An embedding model with prompts."""
    folder = save_checkpoint(tmp_path / "embedder", tokenizer_json)
    write_json(folder / "config_sentence_transformers.json", PROMPTS)
    return folder


def opened(checkpoint: Path) -> Model:
    return Model(build_engine(checkpoint, checkpoint / "engine").path)


def test_embeddings(embedder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(embedder), device="cpu", local_files_only=True)
    with opened(embedder) as model:
        found = {
            "embed": (model.embed(TEXTS), theirs.encode(TEXTS)),
            "prompt": (model.embed(TEXTS, prompt="find: "), theirs.encode(TEXTS, prompt="find: ")),
            "name": (model.embed(TEXTS, prompt_name="query"), theirs.encode(TEXTS, prompt_name="query")),
            "documents": (model.embed_documents(iter(TEXTS)), theirs.encode_document(TEXTS)),
            "query": (model.embed_query(TEXTS[0]), theirs.encode_query(TEXTS[0])),
            "dimensions": (
                model.embed(TEXTS, dimensions=16),
                theirs.encode(TEXTS, truncate_dim=16, normalize_embeddings=True),
            ),
            "chunks": (
                np.concatenate([chunk.vectors for chunk in model.embed_chunks(iter(TEXTS), chunk_size=4)]),
                theirs.encode(TEXTS),
            ),
        }
    for name, (ours, expected) in found.items():
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("normalize", [True, False, None])
def test_normalization(normalize: bool | None, tmp_path: Path, tokenizer_json: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = save_checkpoint(tmp_path / "embedder", tokenizer_json, normalize=False)
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    expected = theirs.encode(TEXTS, normalize_embeddings=bool(normalize))
    np.testing.assert_allclose(opened(folder).embed(TEXTS, normalize=normalize), expected, atol=1e-3)


def test_token_embeddings(embedder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(embedder), device="cpu", local_files_only=True)
    expected = theirs.encode(TEXTS, output_value="token_embeddings")
    found = opened(embedder).token_embeddings(TEXTS)
    for ours, rows in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, rows, atol=1e-3)


def test_scores(save: Save) -> None:
    from sentence_transformers import CrossEncoder

    checkpoint = save(CLASSIFIER, num_labels=1)
    theirs = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True)
    model = opened(checkpoint)
    np.testing.assert_allclose(model.score(PAIRS), theirs.predict(PAIRS), atol=TOLERANCE)
    ranked = model.rerank(TEXTS[0], iter(TEXTS), top_n=5)
    expected = theirs.rank(TEXTS[0], TEXTS, top_k=5, return_documents=True)
    assert [(one.index, one.document) for one in ranked] == [(one["corpus_id"], one["text"]) for one in expected]
    np.testing.assert_allclose([one.score for one in ranked], [one["score"] for one in expected], atol=TOLERANCE)
    raw = model.score(PAIRS, raw_scores=True).astype(np.float64)
    np.testing.assert_allclose(1 / (1 + np.exp(-raw)), theirs.predict(PAIRS), atol=TOLERANCE)


def test_labels(save: Save) -> None:
    import transformers

    checkpoint = save(CLASSIFIER, **MOODS)
    theirs = transformers.pipeline("text-classification", model=str(checkpoint), device="cpu")
    given: list[Any] = [*TEXTS, *PAIRS]
    for item, ours in zip(given, opened(checkpoint).classify(given), strict=True):
        is_pair = isinstance(item, tuple)
        [expected] = theirs([{"text": item[0], "text_pair": item[1]} if is_pair else item], top_k=None)
        assert [label.label for label in ours] == [label["label"] for label in expected]
        scores = [label.score for label in ours]
        np.testing.assert_allclose(scores, [label["score"] for label in expected], atol=TOLERANCE)


@pytest.mark.parametrize("aggregation", ["none", "simple", "first", "average", "max"])
def test_entities(aggregation: Any, save: Save) -> None:
    import transformers

    checkpoint = save("BertForTokenClassification", **LABELS)
    theirs = transformers.pipeline("ner", model=str(checkpoint), device="cpu", aggregation_strategy=aggregation)
    for text, found in zip(TEXTS, opened(checkpoint).entities(TEXTS, aggregation=aggregation), strict=True):
        expected = theirs(text)
        ours = [entity for entity in found if entity.end and entity.label != "O"]  # "none" has every token
        key = "entity" if aggregation == "none" else "entity_group"
        assert [(one.start, one.end, one.label) for one in ours] == [
            (one["start"], one["end"], one[key]) for one in expected
        ]
        np.testing.assert_allclose([one.score for one in ours], [one["score"] for one in expected], atol=TOLERANCE)


def test_terms(save: Save) -> None:
    from sentence_transformers import SparseEncoder

    checkpoint = save("BertForMaskedLM")
    theirs = SparseEncoder(str(checkpoint), device="cpu", local_files_only=True)
    write_chain(checkpoint, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(checkpoint / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    expected = np.asarray(theirs.encode(TEXTS, convert_to_sparse_tensor=False), np.float32)
    for row, found in zip(expected, opened(checkpoint).sparse(TEXTS), strict=True):
        dense = np.zeros_like(row)
        dense[[*found]] = [*found.values()]
        assert list(found) == sorted(found)
        assert all(found.values())
        np.testing.assert_allclose(dense, row, atol=TOLERANCE)
