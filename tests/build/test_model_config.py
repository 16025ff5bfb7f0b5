"""config_sentence_transformers.json: default dimensions, default prompts of rerankers, similarity."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.errors import CheckpointError
from openbei.serving.tokenizer import Tokenizer
from tests.checkpoint import build_engine, judge_vectors, save_model, write_json
from tests.prose import texts
from tests.same_embedding import unit, worst_cosine
from tests.sentence_chain import embed

FILE = "config_sentence_transformers.json"
TEXTS = texts(6, longest=40)


@pytest.mark.parametrize(("given", "width"), [(24, 24), (63, 63), (64, 64), (100, 64), (None, 64)])
def test_truncate_dim(given: int | None, width: int, spoilt_checkpoint: Path, tmp_path: Path) -> None:
    """The vectors of sentence-transformers; a model with a Normalize has them normalized again, as `dimensions` has."""
    write_json(spoilt_checkpoint / FILE, {"truncate_dim": given})
    engine_dir = build_engine(spoilt_checkpoint, tmp_path / "engine")
    assert engine_dir.manifest.dimensions == (width if width < 64 else None)
    found, expected = embed(engine_dir, TEXTS), judge_vectors(spoilt_checkpoint, TEXTS)
    assert found.shape == expected.shape == (len(TEXTS), width)
    assert worst_cosine(found, unit(expected)) > 0.99999
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("given", [0, -1, "many"])
def test_truncate_dim_that_is_no_number(given: object, spoilt_checkpoint: Path, tmp_path: Path) -> None:
    write_json(spoilt_checkpoint / FILE, {"truncate_dim": given})
    with pytest.raises(CheckpointError, match="truncate_dim"):
        build_engine(spoilt_checkpoint, tmp_path / "engine")


def test_the_default_prompt_of_a_reranker(
    make_checkpoint: Callable[..., Path], tokenizer_json: Path, tmp_path: Path
) -> None:
    """CrossEncoder puts it before the first text of each pair."""
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
    assert any(decision.subject == "prompt of queries" for decision in engine_dir.manifest.report)


@pytest.mark.parametrize(("given", "told"), [("dot", "dot"), (None, "cosine")])
def test_similarity(given: str | None, told: str, spoilt_checkpoint: Path, tmp_path: Path) -> None:
    write_json(spoilt_checkpoint / FILE, {"similarity_fn_name": given})
    manifest = build_engine(spoilt_checkpoint, tmp_path / "engine").manifest
    assert manifest.similarity == told
    assert any(decision.subject == "similarity" for decision in manifest.report) is (given == "dot")
