"""A published SPLADE, in each form that its folder may have, against sentence-transformers' SparseEncoder."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Vectors
from openbei.engine_dir import EngineDir
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import DType
from tests.checkpoint import build_engine, write_chain, write_json
from tests.dense_rows import dense_rows
from tests.same_embedding import worst_plain_cosine

from .conftest import Fetched
from .given import SPELLED_OUT, VARIED

TEXTS = [*VARIED, *SPELLED_OUT]
FORMS = ("modules.json", "SparseEncoder without modules.json", "masked language model")


@pytest.fixture(scope="session")
def published(fetched: Fetched) -> Path:
    """The checkpoint as it is published: a masked language model, and nothing that says it is a SPLADE."""
    return fetched("SPLADE-tiny-msmarco")


@pytest.fixture(scope="session")
def expected(published: Path) -> Vectors:
    """Term weights of TEXTS by sentence-transformers, which takes any masked language model for a SPLADE."""
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(published), device="cpu", local_files_only=True)
    rows = model.encode(TEXTS, batch_size=1, convert_to_tensor=True, convert_to_sparse_tensor=False)
    return np.asarray(rows, np.float32)


def _linked_or_copied(source: str, target: str) -> None:
    """A build refuses symbolic links that leave the checkpoint's folder; hard ones end at the disk."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def build_form(form: str, published: Path, folder: Path, *, dtype: DType = "float32") -> EngineDir:
    """The engine directory of the checkpoint in one of FORMS."""
    model, changes = folder / "model", {}
    shutil.copytree(published, model, copy_function=_linked_or_copied)
    if form == "masked language model":
        changes = {"pooling": "splade"}
    else:
        write_json(model / "config_sentence_transformers.json", {"model_type": "SparseEncoder"})
    if form == "modules.json":
        write_chain(model, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
        write_json(model / "1_SpladePooling/config.json", {"pooling_strategy": "max", "activation_function": "relu"})
    return build_engine(model, folder / "engine", dtype=dtype, **changes)


def weights(engine_dir: EngineDir) -> Vectors:
    """Term weights of TEXTS, a column for each word of the vocabulary."""
    sequences = Tokenizer.open(engine_dir).encode(TEXTS)
    rows: Any = load_engine(engine_dir).run(PackedBatch.pack(sequences))
    return dense_rows(rows)


@pytest.mark.parametrize("form", FORMS)
def test_terms(form: str, published: Path, expected: Vectors, tmp_path: Path) -> None:
    engine_dir = build_form(form, published, tmp_path)
    assert (engine_dir.manifest.spec.task, engine_dir.manifest.default_route) == ("sparse", "/embed_sparse")
    found = weights(engine_dir)
    other = [text for text, ours, theirs in zip(TEXTS, found > 0, expected > 0, strict=True) if (ours != theirs).any()]
    assert other == [], "the terms must be the same"
    assert worst_plain_cosine(found, expected) >= 0.99999
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_bfloat16(published: Path, expected: Vectors, tmp_path: Path) -> None:
    found = weights(build_form("modules.json", published, tmp_path, dtype="bfloat16"))
    assert worst_plain_cosine(found, expected) >= 0.9995
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(expected, axis=1), rtol=0.01)


def test_the_table_that_two_share_is_stored_once(published: Path, tmp_path: Path) -> None:
    """The decoder of term weights is the table of token vectors, which is nearly all of this model."""
    engine_dir = build_form("modules.json", published, tmp_path)
    size = sum(path.stat().st_size for path in engine_dir.path.iterdir())
    assert size < 1.2 * sum(path.stat().st_size for path in published.iterdir())
