"""config_sentence_transformers.json: truncate_dim, default prompts of rerankers, similarity."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.errors import CheckpointError
from openbei.serving.tokenizer import Tokenizer
from tests.checkpoint import build_engine, expected_vectors, save_model, write_json
from tests.prose import texts
from tests.same_embedding import unit, worst_cosine
from tests.sentence_chain import embed

FILE = "config_sentence_transformers.json"
TEXTS = texts(6, longest=40)


@pytest.mark.parametrize(("truncate_dim", "width"), [(24, 24), (63, 63), (64, 64), (100, 64), (None, 64)])
def test_truncate_dim(truncate_dim: int | None, width: int, checkpoint_copy: Path, tmp_path: Path) -> None:
    """As in sentence-transformers, except that a model with a Normalize normalizes after the truncation."""
    write_json(checkpoint_copy / FILE, {"truncate_dim": truncate_dim})
    engine_dir = build_engine(checkpoint_copy, tmp_path / "engine")
    assert engine_dir.manifest.dimensions == (width if width < 64 else None)
    found, expected = embed(engine_dir, TEXTS), expected_vectors(checkpoint_copy, TEXTS)
    assert found.shape == expected.shape == (len(TEXTS), width)
    assert worst_cosine(found, unit(expected)) > 0.99999
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("truncate_dim", [0, -1, "many"])
def test_invalid_truncate_dim(truncate_dim: object, checkpoint_copy: Path, tmp_path: Path) -> None:
    write_json(checkpoint_copy / FILE, {"truncate_dim": truncate_dim})
    with pytest.raises(CheckpointError, match="truncate_dim"):
        build_engine(checkpoint_copy, tmp_path / "engine")


def test_the_default_prompt_of_a_reranker(
    make_checkpoint: Callable[..., Path], tokenizer_json: Path, tmp_path: Path
) -> None:
    """CrossEncoder prepends it to the first text of each pair."""
    from sentence_transformers import CrossEncoder

    checkpoint = save_model(tmp_path / "model", tokenizer_json, "BertForSequenceClassification", num_labels=1)
    CrossEncoder(str(checkpoint), device="cpu", local_files_only=True).save_pretrained(str(tmp_path / "saved"))
    path = tmp_path / "saved" / FILE
    prompts = {"prompts": {"web": "is it about: ", "none": None}, "default_prompt_name": "web"}
    write_json(path, {**json.loads(path.read_text()), **prompts})
    model = CrossEncoder(str(tmp_path / "saved"), device="cpu", local_files_only=True)
    expected = model.predict([(TEXTS[0], text) for text in TEXTS[1:]], batch_size=1, activation_fn=lambda x: x)
    engine_dir = build_engine(tmp_path / "saved", tmp_path / "engine")
    prompt = engine_dir.manifest.prompts.find(None)
    assert prompt == "is it about: "
    assert engine_dir.manifest.prompts.by_name == {"web": prompt}
    pairs = Tokenizer.open(engine_dir).encode_pairs([(prompt + TEXTS[0], text) for text in TEXTS[1:]])
    logits = np.asarray(load_engine(engine_dir).run(PackedBatch.pack(pairs)))
    assert np.abs(logits[:, 0] - expected).max() < 2e-4
    assert any(decision.subject == "query prompt" for decision in engine_dir.manifest.report)


@pytest.mark.parametrize(("name", "expected"), [("dot", "dot"), (None, "cosine")])
def test_similarity(name: str | None, expected: str, checkpoint_copy: Path, tmp_path: Path) -> None:
    write_json(checkpoint_copy / FILE, {"similarity_fn_name": name})
    manifest = build_engine(checkpoint_copy, tmp_path / "engine").manifest
    assert manifest.similarity == expected
    assert any(decision.subject == "similarity" for decision in manifest.report) is (name == "dot")
