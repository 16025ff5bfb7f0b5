"""Gemma, Gemma 2 and the text model of Gemma 3, causal and bidirectional, against transformers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.backends import load_engine
from openbei.batch import PackedBatch, Vectors
from openbei.errors import CheckpointError
from openbei.families import find_family, gemma
from openbei.spec import EmbeddingHead, LocalLayers, Rotary
from tests.checkpoint import build_engine, save_checkpoint, train_bpe_tokenizer
from tests.families.parity import (
    check_family,
    cut_sequences,
    default_config,
    relative_error,
    required_fields,
    transformers_model,
)
from tests.prose import WORDS

LAST = EmbeddingHead(poolings=("last_token",))
SMALL = {"num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 0.1}  # large enough to matter
ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e5, "factor": 2.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("GemmaModel", SMALL),
    "gemma, one head for keys": ("GemmaModel", {"num_key_value_heads": 1, "head_dim": 32, "attention_bias": True}),
    "gemma, both ways": ("GemmaModel", {**SMALL, "use_bidirectional_attention": True}),
    "gemma2": (
        "Gemma2Model",
        {
            **SMALL,
            "num_hidden_layers": 4,
            "sliding_window": 12,
            "query_pre_attn_scalar": 24,
            "attn_logit_softcapping": 1.5,
        },
    ),
    "gemma2, uncapped": ("Gemma2Model", {**SMALL, "attn_logit_softcapping": None, "sliding_window": 500}),
    "gemma2, both ways": ("Gemma2Model", {**SMALL, "num_hidden_layers": 3, "sliding_window": 24, "is_causal": False}),
    "gemma3": ("Gemma3TextModel", {**SMALL, "num_hidden_layers": 7, "sliding_window": 12, "rope_parameters": ROPE}),
    "gemma3, both ways": (
        "Gemma3TextModel",
        {
            **SMALL,
            "num_hidden_layers": 3,
            "sliding_window": 24,
            "use_bidirectional_attention": True,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "gemma3, wide heads": ("Gemma3TextModel", {"num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32}),
}


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])


@pytest.mark.parametrize("model", MODELS)
def test_hidden_states(model: str, tokenizer_json: Path, tmp_path: Path) -> None:
    architecture, config = MODELS[model]
    checkpoint = save_checkpoint(tmp_path / "model", tokenizer_json, architecture=architecture, **config)
    spec = check_family(checkpoint, tmp_path).manifest.spec
    assert spec.family == model.partition(",")[0]
    assert spec.attention.is_causal is ("both ways" not in model)


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_gelu_and_its_approximation_are_distinct(activation: str, tokenizer_json: Path, tmp_path: Path) -> None:
    """They differ by at most 5e-4, too little for a cosine of 0.99999 to detect."""
    checkpoint = save_checkpoint(
        tmp_path / "model", tokenizer_json, architecture="Gemma2Model", **SMALL, hidden_activation=activation
    )
    engine_dir = build_engine(checkpoint, tmp_path / "engine")
    sequences = cut_sequences(engine_dir)

    def hidden_states(activation: str) -> Vectors:
        model = transformers_model(checkpoint, hidden_activation=activation)
        return np.concatenate([model(sequence.token_ids.tolist()) for sequence in sequences])

    expected = hidden_states(activation)
    other = hidden_states("gelu" if activation == "gelu_pytorch_tanh" else "gelu_pytorch_tanh")
    for backend in ("reference", "native"):
        found = np.asarray(load_engine(engine_dir, backend=backend).run(PackedBatch.pack(sequences), "tokens"))
        assert relative_error(found, expected) < relative_error(other, expected) / 10, backend


def spec_of(architecture: str, **config: Any) -> Any:
    config = {
        "architectures": [architecture],
        "vocab_size": 9,
        "hidden_size": 48,
        "intermediate_size": 8,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    } | config
    return find_family(architecture)[0].parse(config, LAST)


@pytest.mark.parametrize("name", ["Gemma", "Gemma2", "Gemma3Text"])
def test_defaults_are_those_of_transformers(name: str) -> None:
    config = default_config(name)
    required = required_fields(config)
    if name == "Gemma":
        required["num_key_value_heads"] = config["num_key_value_heads"]
    family, _ = find_family(f"{name}Model")
    assert family.parse(required, LAST) == family.parse(config, LAST)


def test_older_files_of_gemma3() -> None:
    """Before transformers 5: two fields for theta, rope_scaling of the global layers, a pattern of local layers."""
    older = spec_of(
        "Gemma3TextModel",
        rope_theta=1e5,
        rope_local_base_freq=100.0,
        sliding_window=512,
        rope_scaling={"rope_type": "linear", "factor": 2.0},
        sliding_window_pattern=3,
    )
    newer = spec_of(
        "Gemma3TextModel",
        rope_parameters=ROPE,
        sliding_window=512,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
    )
    assert older == newer
    assert older.attention.rotary.frequencies[0] == 0.5
    local = older.attention.local
    assert local == LocalLayers(layers=(0, 1, 3, 4), window=511, rotary=Rotary(frequencies=local.rotary.frequencies))


def test_bidirectional_windows_are_halved() -> None:
    for spec in (
        spec_of("Gemma3TextModel", use_bidirectional_attention=True, sliding_window=512),
        spec_of("Gemma3BidirectionalModel", sliding_window=512),
    ):
        assert (spec.family, spec.attention.is_causal, spec.attention.local.window) == ("gemma3", False, 256)


@pytest.mark.parametrize("architecture", ["GemmaModel", "Gemma2Model"])
def test_two_flags_for_bidirectional_attention(architecture: str) -> None:
    """They are documented as equivalent, although eager attention of Gemma 2 in transformers reads only one."""
    flagged = spec_of(architecture, use_bidirectional_attention=True)
    assert flagged == spec_of(architecture, is_causal=False)
    assert not flagged.attention.is_causal


def test_gelu_of_gemma_is_its_approximation() -> None:
    for given in ({"hidden_act": "gelu"}, {"hidden_act": "gelu", "hidden_activation": None}, {}):
        assert spec_of("GemmaModel", **given).mlp.activation == "gelu_tanh"
    assert spec_of("Gemma2Model", hidden_activation="gelu").mlp.activation == "gelu"
    assert spec_of("Gemma2Model", hidden_act="relu").mlp.activation == "gelu_tanh", "transformers ignores it there"


def test_embedding_scale_is_rounded_to_the_checkpoint_dtype() -> None:
    torch = pytest.importorskip("torch")
    for dtype in ("bfloat16", "float16", "float32"):
        expected = torch.tensor(math.sqrt(3072)).to(getattr(torch, dtype)).item()
        assert gemma.round_to_dtype(math.sqrt(3072), dtype) == expected
    assert spec_of("GemmaModel", torch_dtype="bfloat16", hidden_size=3072).embedding_scale == 55.5
    assert spec_of("GemmaModel", hidden_size=64).embedding_scale == 8.0


def test_refuses() -> None:
    with pytest.raises(CheckpointError, match="query_pre_attn_scalar"):
        spec_of("Gemma2Model", query_pre_attn_scalar=0)
    with pytest.raises(CheckpointError, match="unsupported architecture 'Gemma3Model'"):
        find_family("Gemma3Model")
