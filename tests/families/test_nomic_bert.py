"""Nomic BERT against transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from openbei.errors import CheckpointError
from openbei.families import nomic_bert
from openbei.shapes import linear_shapes
from openbei.spec import EmbeddingHead, GatedMLP

from .parity import check_family, transformers_model

MEAN = EmbeddingHead(poolings=("mean",))
REPOSITORY_CONFIG: dict[str, Any] = {
    "architectures": ["NomicBertModel"],
    "model_type": "nomic_bert",
    "auto_map": {"AutoModel": "modeling.NomicBertModel"},
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 96,
    "n_positions": 128,
    "layer_norm_epsilon": 1e-12,
    "activation_function": "swiglu",
    "rotary_emb_base": 1000,
    "rotary_emb_fraction": 1.0,
    "prenorm": False,
    "rotary_emb_interleaved": False,
    "rotary_scaling_factor": None,
    "max_trained_positions": 2048,
    "causal": False,
    "type_vocab_size": 2,
    "qkv_proj_bias": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
}
"""A config.json with the field names of Nomic's repositories."""


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_act": "silu"},
        {
            "num_attention_heads": 2,
            "num_hidden_layers": 3,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 20.0},
        },
    ],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="NomicBertModel", **config), tmp_path)


def test_a_repository_with_code(make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Its config.json has other field names and an auto_map, whose code is never run."""
    checkpoint = make_checkpoint(architecture="NomicBertModel", hidden_act="silu", seed=4)
    references = [transformers_model(checkpoint, dtype=dtype) for dtype in ("float32", "bfloat16")]
    vocab_size = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    (checkpoint / "config.json").write_text(json.dumps(REPOSITORY_CONFIG | {"vocab_size": vocab_size}))
    check_family(checkpoint, tmp_path, reference=references[0], bf16_reference=references[1])


def test_defaults_are_those_of_transformers() -> None:
    assert nomic_bert.parse(transformers.NomicBertConfig().to_dict(), MEAN) == nomic_bert.parse({}, MEAN)


def test_field_names_of_the_repositories() -> None:
    spec = nomic_bert.parse(REPOSITORY_CONFIG | {"n_positions": 8192}, MEAN)
    assert (spec.num_layers, spec.hidden_size, spec.positions.max_positions) == (2, 64, 8192)
    assert spec.mlp == GatedMLP(intermediate_size=96, activation="silu")
    longer = nomic_bert.parse(REPOSITORY_CONFIG | {"n_positions": 8192, "rotary_scaling_factor": 2}, MEAN)
    assert longer.positions.max_positions == 2048, "scaling would start here"
    assert set(spec.linears_without_bias) == set(linear_shapes(spec, 0))
    assert nomic_bert.parse(REPOSITORY_CONFIG | {"qkv_proj_bias": True}, MEAN).linears_without_bias == (
        "mlp.gate",
        "mlp.up",
        "mlp.down",
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rotary_emb_fraction": 0.5}, "rotary_emb_fraction is 0.5; the family nomic_bert supports only 1.0"),
        ({"activation_function": "glu"}, "hidden_act is 'glu'"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope type is 'longrope'"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        nomic_bert.parse(config, MEAN)
