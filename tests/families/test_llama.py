"""Llama, Mistral, Qwen2 and Qwen3, and their bidirectional variants, against transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from openbei.errors import CheckpointError
from openbei.families import llama
from openbei.spec import EmbeddingHead, LocalLayers, SequenceHead
from tests.checkpoint import build_engine, save_checkpoint, train_bpe_tokenizer, update_json
from tests.families.parity import check_family, default_config, required_fields, transformers_model
from tests.prose import WORDS

DTYPES = ("float32", "bfloat16")
LAST = EmbeddingHead(poolings=("last_token",))
SMALL = {"num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 0.1}  # large enough to matter
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaModel", SMALL),
    "llama, rope scaling": ("LlamaModel", {"num_key_value_heads": 4, "rope_parameters": LLAMA3}),
    "llama, biases": ("LlamaModel", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    "llama, wide heads": ("LlamaModel", {"num_key_value_heads": 1, "head_dim": 32, "hidden_act": "gelu"}),
    "mistral": ("MistralModel", {**SMALL, "sliding_window": None}),
    "mistral, sliding": ("MistralModel", {**SMALL, "sliding_window": 20}),
    "qwen2": ("Qwen2Model", {"num_key_value_heads": 2}),
    "qwen2, yarn": ("Qwen2Model", {"num_key_value_heads": 4, "rope_parameters": YARN, "rms_norm_eps": 0.1}),
    "qwen2, sliding": (
        "Qwen2Model",
        {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3Model", {**SMALL, "num_hidden_layers": 3}),
    "qwen3, wide heads": ("Qwen3Model", {"num_key_value_heads": 1, "head_dim": 32, "attention_bias": True}),
}


@pytest.fixture(scope="module")
def tokenizer_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_bpe_tokenizer(tmp_path_factory.mktemp("tokenizer"), WORDS[:20_000])


def save(folder: Path, tokenizer_json: Path, architecture: str, **config: Any) -> Path:
    return save_checkpoint(folder, tokenizer_json, architecture=architecture, pooling="lasttoken", **config)


@pytest.mark.parametrize("model", MODELS)
def test_hidden_states(model: str, tokenizer_json: Path, tmp_path: Path) -> None:
    architecture, config = MODELS[model]
    engine_dir = check_family(save(tmp_path / "model", tokenizer_json, architecture, **config), tmp_path)
    spec = engine_dir.manifest.spec
    assert spec.family == model.partition(",")[0]
    assert spec.attention.is_causal
    assert bool(spec.attention.local) == model.endswith("sliding")


@pytest.mark.parametrize("architecture", ["LlamaModel", "Qwen2Model", "Qwen3Model"])
@pytest.mark.parametrize("by_name", [True, False])
def test_bidirectional(architecture: str, by_name: bool, tokenizer_json: Path, tmp_path: Path) -> None:
    """Against transformers with is_causal=False; published repositories set that in their own code."""
    checkpoint = save(tmp_path / "model", tokenizer_json, architecture, num_key_value_heads=2, is_causal=False)
    references = [transformers_model(checkpoint, dtype=dtype, attn_implementation="eager") for dtype in DTYPES]
    if by_name:
        name = architecture.replace("Model", "BidirectionalModel")
        update_json(
            checkpoint / "config.json",
            architectures=[name],
            auto_map={"AutoModel": f"modeling.{name}"},
            model_type="its_own",
            is_causal=None,
        )
    engine_dir = check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])
    assert not engine_dir.manifest.spec.attention.is_causal
    if by_name:
        decisions = {decision.subject: decision.decision for decision in engine_dir.manifest.report}
        assert decisions["repository code"] == "not run"


def test_bidirectional_window(tokenizer_json: Path, tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "model", tokenizer_json, "MistralModel", **SMALL, sliding_window=7, is_causal=False)
    references = [transformers_model(checkpoint, dtype=dtype, attn_implementation="eager") for dtype in DTYPES]
    engine_dir = check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])
    assert engine_dir.manifest.spec.attention.local == LocalLayers(layers=(0, 1), window=7)


@pytest.mark.parametrize("name", ["Llama", "Mistral", "Qwen2", "Qwen3"])
def test_defaults_are_those_of_transformers(name: str) -> None:
    """For the fields that older files omit; the model's sizes are always there."""
    config = default_config(name)
    assert llama.parse(required_fields(config), LAST) == llama.parse(config, LAST)


def parsed(**changes: Any) -> Any:
    config = {
        "architectures": ["Qwen3Model"],
        "vocab_size": 9,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    } | changes
    return llama.parse(config, LAST)


def test_windows() -> None:
    on = {"use_sliding_window": True, "sliding_window": 5}
    types = ["full_attention", "sliding_attention"] * 2
    assert parsed().attention.local is None
    assert parsed(**on, max_window_layers=3).attention.local == LocalLayers(layers=(3,), window=4)
    assert parsed(**on, layer_types=types).attention.local == LocalLayers(layers=(1, 3), window=4)
    assert parsed(sliding_window=5, use_sliding_window=False, layer_types=types).attention.local is None
    assert parsed(**on, max_window_layers=4).attention.local is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_act": "swish_10"}, "hidden_act is 'swish_10'; supported: gelu, "),
        ({"num_key_value_heads": 3}, "num_attention_heads is 2; it must be a multiple of num_key_value_heads, 3"),
        ({"head_dim": None, "hidden_size": 9}, "hidden_size is 9; it must be a multiple of num_attention_heads, 2"),
        ({"head_dim": 3}, "the rotary dimension is 3; it must be an even number"),
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries, for 4 layers"),
        ({"layer_types": ["linear_attention"] * 4}, "linear_attention"),
        ({"rope_scaling": {"type": "longrope"}}, "rope type is 'longrope'; supported: default, "),
        ({"vocab_size": None}, "vocab_size"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        parsed(**config)


BIASES: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "llama": ("LlamaModel", {}, set()),
    "llama, attention": ("LlamaModel", {"attention_bias": True}, {"self_attn.k_proj", "self_attn.o_proj"}),
    "llama, mlp": ("LlamaModel", {"mlp_bias": True}, {"mlp.up_proj"}),
    "mistral": ("MistralModel", {"attention_bias": True}, set()),
    "qwen2": ("Qwen2Model", {}, {"self_attn.k_proj"}),
    "qwen3": ("Qwen3Model", {"attention_bias": True}, {"self_attn.k_proj", "self_attn.o_proj"}),
    "gemma": ("GemmaModel", {"attention_bias": True}, {"self_attn.k_proj", "self_attn.o_proj"}),
    "gemma2": ("Gemma2Model", {}, set()),
    "eurobert": ("EuroBertModel", {"mlp_bias": True}, {"mlp.up_proj"}),
}


@pytest.mark.parametrize("model", BIASES)
def test_biases_must_match_the_config(model: str, tokenizer_json: Path, tmp_path: Path) -> None:
    architecture, config, biased = BIASES[model]
    checkpoint = save(tmp_path / "model", tokenizer_json, architecture, num_key_value_heads=4, **config)
    path = checkpoint / "model.safetensors"
    saved = load_file(path)
    for part in ("self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj"):
        name = f"layers.1.{part}.bias"
        assert (name in saved) is (part in biased)
        changed = {key: tensor for key, tensor in saved.items() if key != name}
        if part not in biased:
            changed[name] = np.zeros(len(saved[f"layers.1.{part}.weight"]), np.float32)
        save_file(changed, path)
        with pytest.raises(CheckpointError, match=f"no {'tensor ' if part in biased else 'place for: '}{name}$"):
            build_engine(checkpoint, tmp_path / "engine")


def test_refuses_a_pooling_of_remote_code() -> None:
    config = {
        "architectures": ["LlamaBidirectionalForSequenceClassification"],
        "vocab_size": 9,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    with pytest.raises(CheckpointError, match="pooling is 'weighted_avg'; supported: avg, cls, last"):
        llama.parse(config | {"pooling": "weighted_avg"}, SequenceHead(num_labels=1))
    with pytest.raises(CheckpointError, match="temperature"):
        llama.parse(config | {"temperature": 0}, SequenceHead(num_labels=1))
