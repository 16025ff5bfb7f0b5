"""EuroBERT against transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from openbei.backends import load_engine
from openbei.batch import PackedBatch
from openbei.errors import CheckpointError
from openbei.families import eurobert
from openbei.spec import Dense, EmbeddingHead, SequenceHead, TokenHead
from tests.checkpoint import build_engine, expected_logits, save_model, tokenize
from tests.prose import texts

from .parity import check_family

MEAN = EmbeddingHead(poolings=("mean",))
LABELLED = SequenceHead(num_labels=2, steps=(Dense(out_features=64, activation="gelu"),))
THREE = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}, "type_vocab_size": 0}


@pytest.mark.parametrize(
    "config",
    [
        {"num_key_value_heads": 2},
        {
            "num_hidden_layers": 3,
            "attention_bias": True,
            "mlp_bias": True,
            "rms_norm_eps": 1e-3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 20.0},
        },
    ],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    engine_dir = check_family(make_checkpoint(architecture="EuroBertModel", **config), tmp_path)
    assert not engine_dir.manifest.spec.attention.is_causal


@pytest.mark.parametrize("pooling", ["bos", "mean"])
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_sequence_classifiers(backend: str, pooling: str, tokenizer_json: Path, tmp_path: Path) -> None:
    end = "ForSequenceClassification"
    checkpoint = save_model(tmp_path / "m", tokenizer_json, f"EuroBert{end}", classifier_pooling=pooling, **THREE)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = texts(8, longest=60)
    logits = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(tokenize(engine_dir, given)), "pooled")
    assert np.abs(np.asarray(logits) - np.array(expected_logits(checkpoint, end, given))).max() < 2e-4


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_token_classifiers(backend: str, tokenizer_json: Path, tmp_path: Path) -> None:
    end = "ForTokenClassification"
    checkpoint = save_model(tmp_path / "m", tokenizer_json, f"EuroBert{end}", **THREE)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = texts(8, longest=60)
    logits = load_engine(engine_dir, backend=backend).run(PackedBatch.pack(tokenize(engine_dir, given)), "labels")
    assert np.abs(np.asarray(logits) - np.concatenate(expected_logits(checkpoint, end, given))).max() < 5e-4


def test_defaults_are_those_of_transformers() -> None:
    given = transformers.EuroBertConfig(architectures=["EuroBertModel"]).to_dict()
    assert eurobert.parse(given, MEAN) == eurobert.parse({"architectures": ["EuroBertModel"]}, MEAN)


def test_heads() -> None:
    config = {"architectures": ["EuroBertForSequenceClassification"], "classifier_pooling": "mean"}
    assert eurobert.parse(config, LABELLED).head == SequenceHead(num_labels=2, steps=LABELLED.steps, pooling="mean")
    assert eurobert.parse(config, TokenHead(num_labels=2)).head.steps == ()
    with pytest.raises(CheckpointError, match="classifier_pooling is 'late'; supported: bos, mean"):
        eurobert.parse({**config, "classifier_pooling": "late"}, LABELLED)
    assert eurobert.steps(config, "embedding") == ()
