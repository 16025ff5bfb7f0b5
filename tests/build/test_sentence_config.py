"""sentence_bert_config.json and its older names, against sentence-transformers; and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.build.sentence_config import FILES, read_sentence_config
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from tests.checkpoint import build_engine, expected_vectors, save_model, write_chain, write_json
from tests.prose import texts
from tests.same_embedding import worst_cosine
from tests.sentence_chain import embed

TEXTS = [*texts(6, longest=60), "MIXED Case İstanbul ΟΔΟΣ", "short"]


def with_settings(checkpoint: Path, settings: dict[str, Any], name: str = FILES[0]) -> Path:
    (checkpoint / FILES[0]).unlink()
    write_json(checkpoint / name, settings)
    return checkpoint


def check(checkpoint: Path, out: Path) -> EngineDir:
    engine_dir = build_engine(checkpoint, out)
    assert worst_cosine(embed(engine_dir, TEXTS), expected_vectors(checkpoint, TEXTS)) > 0.99999
    return engine_dir


@pytest.mark.parametrize("name", FILES)
def test_every_name_is_read(name: str, checkpoint_copy: Path, tmp_path: Path) -> None:
    checkpoint = with_settings(checkpoint_copy, {"max_seq_length": 17, "do_lower_case": True}, name)
    manifest = check(checkpoint, tmp_path / "engine").manifest
    assert manifest.max_sequence_tokens == 17
    assert any(name in decision.reason for decision in manifest.report)


def test_the_first_non_empty_file_is_read(checkpoint_copy: Path, tmp_path: Path) -> None:
    write_json(checkpoint_copy / FILES[0], {})
    write_json(checkpoint_copy / FILES[5], {"max_seq_length": 20})
    write_json(checkpoint_copy / FILES[6], {"max_seq_length": 10})
    assert check(checkpoint_copy, tmp_path / "engine").manifest.max_sequence_tokens == 20


@pytest.mark.parametrize(
    ("settings", "length"),
    [
        ({"max_seq_length": 30}, 30),
        ({"tokenizer_args": {"model_max_length": 21}}, 21),
        ({"processor_kwargs": {"model_max_length": 21}, "max_seq_length": 30}, 21),
        ({"processing_kwargs": {"text": {"max_length": 12}}, "max_seq_length": 30}, 12),
        ({"tokenizer_args": {"truncation_side": "left"}, "max_seq_length": 15}, 15),
        ({"config_args": {"hidden_act": "relu"}, "max_seq_length": 40}, 40),
        ({"config_kwargs": {"layer_norm_eps": 0.3}, "model_args": {"attn_implementation": "eager"}}, 128),
        ({"model_kwargs": {"torch_dtype": "float32"}, "unpad_inputs": True}, 128),
        ({"processing_kwargs": {"text": {"add_special_tokens": False}}}, 128),
        ({"query_length": 5, "document_length": 6, "max_seq_length": 40}, 40),
    ],
    ids=str,
)
def test_keys(settings: dict[str, Any], length: int, checkpoint_copy: Path, tmp_path: Path) -> None:
    checkpoint = with_settings(checkpoint_copy, settings)
    assert check(checkpoint, tmp_path / "engine").manifest.max_sequence_tokens == length


def test_do_lower_case_adds_a_normalizer(tmp_path: Path, tokenizer_json: Path) -> None:
    content = json.loads(tokenizer_json.read_text())
    content["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    checkpoint = save_model(tmp_path / "model", tmp_path / "tokenizer.json", "BertModel")
    write_json(checkpoint / "1_Pooling/config.json", {"embedding_dimension": 64, "pooling_mode": "mean"})
    write_chain(checkpoint, [("", "Transformer"), ("1_Pooling", "Pooling")])
    plain = embed(check(checkpoint, tmp_path / "plain"), TEXTS)
    write_json(checkpoint / FILES[0], {"do_lower_case": True})
    assert worst_cosine(embed(check(checkpoint, tmp_path / "lower"), TEXTS), plain) < 0.999


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_seq_length": 0}, "max_seq_length"),
        ({"max_seq_length": "long"}, "max_seq_length"),
        ({"model_args": {"use_cool_kernels": True}}, "model_kwargs has use_cool_kernels"),
        ({"processing_kwargs": {"text": {"stride": 4}}}, r"processing_kwargs.text.stride is 4"),
        ({"processing_kwargs": {"common": {"truncation": False}}}, r"processing_kwargs.text.truncation is False"),
        ({"processing_kwargs": {"text": {"padding": "max_length"}}}, r"processing_kwargs.text.padding is 'max_length'"),
        (
            {"modality_config": {"text": {"method": "get_text_features", "method_output_name": None}}},
            "get_text_features",
        ),
        ({"tokenizer_name_or_path": "another/model"}, "tokenizer_name_or_path"),
    ],
    ids=str,
)
def test_refusals(settings: dict[str, Any], message: str, checkpoint_copy: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read_sentence_config(with_settings(checkpoint_copy, settings, FILES[2]))
    assert FILES[2] in caught.value.message


def test_not_read_without_modules_json(tokenizer_json: Path, tmp_path: Path) -> None:
    """CrossEncoder creates default modules if there is no modules.json."""
    from sentence_transformers import CrossEncoder

    from openbei.backends import load_engine
    from openbei.batch import PackedBatch
    from openbei.serving.tokenizer import Tokenizer

    checkpoint = save_model(tmp_path / "model", tokenizer_json, "BertForSequenceClassification", num_labels=1)
    write_json(checkpoint / FILES[0], {"max_seq_length": 9, "do_lower_case": True})
    write_json(checkpoint / "config_sentence_transformers.json", {"prompts": {"a": "x: "}, "default_prompt_name": "a"})
    pairs = [(TEXTS[0], text) for text in TEXTS[1:]]
    model = CrossEncoder(str(checkpoint), device="cpu", local_files_only=True)
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    logits = load_engine(engine_dir).run(PackedBatch.pack(Tokenizer.open(engine_dir).encode_pairs(pairs)))
    expected = model.predict(pairs, batch_size=1, activation_fn=lambda x: x)
    assert np.abs(np.asarray(logits)[:, 0] - expected).max() < 2e-4
    assert engine_dir.manifest.prompts.default is None
    not_read = {d.subject for d in engine_dir.manifest.report if d.decision == "not read"}
    assert not_read == {FILES[0], "config_sentence_transformers.json"}
