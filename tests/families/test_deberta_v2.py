"""DeBERTa-v2 and v3 against transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from openbei.attention_bias import Disentangled
from openbei.backends import load_engine
from openbei.backends.positions import relative_rows
from openbei.batch import PackedBatch, SparseVectors
from openbei.errors import CheckpointError
from openbei.families import deberta_v2
from openbei.spec import EmbeddingHead, NoPositions
from tests.checkpoint import build_engine, expected_logits, save_model, tokenize, write_chain, write_json
from tests.prose import texts

from .parity import check_family

CLS = EmbeddingHead(poolings=("cls",))
V3: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "v3, 512 tokens": V3 | {"max_position_embeddings": 512, "position_buckets": 256},
    "odd heads, few buckets": V3 | {"hidden_size": 60, "num_attention_heads": 5, "position_buckets": 7},
    "separate projections": V3 | {"share_att_key": False, "norm_rel_ebd": "none", "hidden_act": "gelu_new"},
    "content to position": V3 | {"pos_att_type": "C2P", "share_att_key": False, "hidden_act": "tanh"},
    "position to content": V3 | {"pos_att_type": ["p2c"], "num_attention_heads": 3, "hidden_size": 48},
    "no buckets": V3 | {"position_buckets": -1, "position_biased_input": True, "type_vocab_size": 2},
    "no buckets, long texts": V3 | {"position_buckets": -1, "max_relative_positions": 24, "pos_att_type": "p2c|c2p"},
    "buckets, 1,024 tokens": V3 | {"max_position_embeddings": 1024, "max_relative_positions": 400},
    "no relative attention": {
        "num_hidden_layers": 1,
        "pos_att_type": ["c2p"],
        "norm_rel_ebd": "layer_norm",
        "layer_norm_eps": 1e-5,
    },
    "v2 xlarge": V3 | {"conv_kernel_size": 3, "conv_act": "gelu", "attention_head_size": 16},
    "a wide convolution, one layer": V3
    | {
        "conv_kernel_size": 7,
        "num_hidden_layers": 1,
        "hidden_size": 60,
        "num_attention_heads": 5,
    },
    "relative attention without terms": {"num_hidden_layers": 1, "relative_attention": True, "hidden_act": "relu"},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="DebertaV2Model", **config), tmp_path)


def test_splade_without_legacy_head(tokenizer_json: Path, tmp_path: Path) -> None:
    """Without `legacy`, the masked language model's head has other tensor names and tied weights."""
    checkpoint = save_model(tmp_path / "model", tokenizer_json, "DebertaV2ForMaskedLM", legacy=False, **V3)
    write_chain(checkpoint, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(checkpoint / "1_SpladePooling/config.json", {"pooling_strategy": "max"})
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    given = texts(8, longest=100)
    engine = load_engine(engine_dir, backend="native")
    for text, logits in zip(given, expected_logits(checkpoint, "ForMaskedLM", given), strict=True):
        weights = engine.run(PackedBatch.pack(tokenize(engine_dir, [text])))
        assert isinstance(weights, SparseVectors)
        dense = np.zeros(weights.width, np.float32)
        dense[weights.indices] = weights.values
        assert np.abs(dense - np.log1p(np.maximum(logits, 0)).max(axis=0)).max() < 5e-4


@pytest.mark.parametrize("span", [2, 3, 7, 16, 63, 256])
@pytest.mark.parametrize("max_distance", [258, 400, 511, 512, 1024])
def test_buckets_match_transformers(span: int, max_distance: int) -> None:
    limit = 2000
    distances = torch.arange(limit, -limit - 1, -1)
    buckets = make_log_bucket_position(distances, span, max_distance).long()
    expected = torch.clamp(buckets + span, 0, 2 * span - 1).numpy()
    bias = Disentangled(span=span, max_distance=max_distance, terms=("c2p",))
    np.testing.assert_array_equal(relative_rows(bias, limit), expected)


def test_defaults_are_those_of_transformers() -> None:
    assert deberta_v2.parse(transformers.DebertaV2Config().to_dict(), CLS) == deberta_v2.parse({}, CLS)


def test_spec_of_v3() -> None:
    given = {"hidden_size": 768, "num_attention_heads": 12, "position_buckets": 256, "max_relative_positions": -1}
    spec = deberta_v2.parse({**V3, **given, "pos_att_type": "p2c|c2p"}, CLS)
    assert spec.attention.bias == Disentangled(span=256, max_distance=512, terms=("c2p", "p2c"))
    assert spec.attention.scale == (64 * 3) ** -0.5
    assert (spec.positions, spec.type_vocab_size) == (NoPositions(max_positions=512), 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"conv_kernel_size": 4}, "conv_kernel_size is 4; it must be odd"),
        ({"conv_kernel_size": 3, "conv_act": "mish"}, "conv_act is 'mish'; supported: gelu, "),
        ({"conv_groups": 2}, "conv_groups is 2; the family deberta_v2 supports only 1"),
        ({"attention_head_size": 32}, "attention_head_size is 32; the family deberta_v2 supports only 64"),
        ({"embedding_size": 128}, "embedding_size is 128; the family deberta_v2 supports only 1536"),
        ({"pos_att_type": ["c2p", "p2p"]}, "pos_att_type has p2p; supported: c2p, p2c"),
        ({"position_buckets": 1}, "position_buckets is 1; it must be 2 to 1021"),
        ({"position_buckets": 64, "max_relative_positions": 32}, "position_buckets is 64; it must be 2 to 61"),
        ({"type_vocab_size": -1}, "type_vocab_size"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        deberta_v2.parse(config, CLS)


def test_refuses_an_unknown_activation_of_the_pooler() -> None:
    with pytest.raises(CheckpointError, match="pooler_hidden_act is 'mish'; supported: gelu, "):
        deberta_v2.steps({"pooler_hidden_act": "mish"}, "sequence_labels")


def test_tensors_of_relative_positions(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """The sources of the computed tables must exist and have the right shape; obsolete tensors are dropped."""
    checkpoint = make_checkpoint(architecture="DebertaV2Model", **V3)
    path, table = checkpoint / "model.safetensors", "encoder.rel_embeddings.weight"
    weights = load_file(path)
    before = build_engine(checkpoint, tmp_path / "before")
    old = {
        "deberta.embeddings.position_embeddings.weight": np.zeros((128, 64), np.float32),
        "mask_predictions.dense.bias": np.zeros(64, np.float32),
    }
    save_file(weights | old, path)
    after = build_engine(checkpoint, tmp_path / "after")
    assert (after.path / "weights.safetensors").read_bytes() == (before.path / "weights.safetensors").read_bytes()
    decided = {decision.subject: decision.decision for decision in after.manifest.report}
    assert decided["dropped tensors"].split(", ") == [*old]
    save_file(weights | {table: weights[table][:-1]}, path)
    with pytest.raises(CheckpointError, match=rf"{table} has the shape \[31, 64\]; config.json says \[32, 64\]"):
        build_engine(checkpoint, tmp_path / "engine")
    save_file({name: tensor for name, tensor in weights.items() if name != table}, path)
    with pytest.raises(CheckpointError, match=f"has no tensor {table}"):
        build_engine(checkpoint, tmp_path / "engine")
