"""ModernBERT against transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from openbei.errors import CheckpointError
from openbei.families import modernbert
from openbei.spec import Dense, EmbeddingHead, LayerNorm, SequenceHead, TokenHead
from tests.checkpoint import build_engine

from .parity import check_family

MEAN = EmbeddingHead(poolings=("mean",))
CONFIGS: dict[str, dict[str, Any]] = {
    "as published": {"num_hidden_layers": 4, "local_attention": 16},
    "with biases": {
        "attention_bias": True,
        "mlp_bias": True,
        "norm_bias": True,
        "hidden_activation": "silu",
        "norm_eps": 1e-3,
        "num_attention_heads": 2,
        "local_attention": 9,
    },
    "layer types": {
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "num_hidden_layers": 3,
        "rope_parameters": {"full_attention": {"rope_theta": 500.0}, "sliding_attention": {"rope_theta": 30.0}},
        "local_attention": 40,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_hidden_states(name: str, make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="ModernBertModel", **CONFIGS[name]), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_bias": True}, "has no tensor layers.0.mlp.W"),
        ({"norm_bias": False}, "no place for: embeddings.norm.bias"),
    ],
)
def test_biases_must_match_the_config(
    changes: dict[str, bool], message: str, make_checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(architecture="ModernBertModel", norm_bias=True)
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=message):
        build_engine(checkpoint, tmp_path / "engine")


def test_defaults_are_those_of_transformers() -> None:
    assert modernbert.parse(transformers.ModernBertConfig().to_dict(), MEAN) == modernbert.parse({}, MEAN)


def test_older_files() -> None:
    """They have two thetas; a null local theta means the global one."""
    config = {"num_hidden_layers": 4, "global_attn_every_n_layers": 2, "local_rope_theta": None}
    spec = modernbert.parse(config, MEAN)
    assert spec.attention.local is not None
    assert (spec.attention.local.layers, spec.attention.local.window) == ((1, 3), 64)
    assert spec.attention.local.rotary == spec.attention.rotary


def test_heads() -> None:
    """Every head has a Dense layer, and a classifier's pooling comes from config.json."""
    config = {"classifier_pooling": "mean", "classifier_activation": "silu"}
    steps = modernbert.steps(config, "token_labels")
    assert steps == (Dense(out_features=768, activation="silu"), LayerNorm(eps=1e-5))
    assert modernbert.steps(config, "embedding") == ()
    head = SequenceHead(num_labels=2, steps=steps)
    assert modernbert.parse(config, head).head == SequenceHead(num_labels=2, steps=steps, pooling="mean")
    assert modernbert.parse(config, TokenHead(num_labels=2, steps=steps)).head.steps == steps


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"layer_types": ["full_attention"]}, "layer_types has 1 entries, for 22 layers"),
        ({"layer_types": ["linear_attention"]}, "layer_types"),
        ({"hidden_activation": "gelu_10"}, "hidden_activation is 'gelu_10'; supported: gelu, "),
        ({"classifier_pooling": "max"}, "classifier_pooling"),
        ({"hidden_size": 30}, "hidden_size is 30; it must be a multiple of num_attention_heads, 12"),
        ({"rope_scaling": {"type": "longrope", "factor": 2.0}}, "rope type is 'longrope'"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        modernbert.parse(config, MEAN)
