"""Specs of any shape, and engines of random weights over them."""

from collections.abc import Callable
from typing import Any

import pytest

from openbei.engine_dir import EngineDir
from openbei.spec import MLP, Activation, Attention, EmbeddingHead, Head, LayerNorm, LearnedPositions, ModelSpec
from tests.random_engine import random_engine_dir

MEAN = EmbeddingHead(poolings=("mean",))

MakeSpec = Callable[..., ModelSpec]
MakeEngineDir = Callable[..., EngineDir]


@pytest.fixture
def make_spec() -> MakeSpec:
    def make(
        hidden: int = 64, heads: int = 2, head_dim: int = 32, inner: int = 96, activation: Activation = "gelu",
        layers: int = 2, max_positions: int = 1100, head: Head = MEAN, first_position: int = 0, **others: Any,
    ) -> ModelSpec:  # fmt: skip
        given: dict[str, Any] = {
            "family": "bert",
            "vocab_size": 211,
            "type_vocab_size": 2,
            "hidden_size": hidden,
            "num_layers": layers,
            "positions": LearnedPositions(max_positions=max_positions, first=first_position),
            "attention": Attention(num_heads=heads, num_kv_heads=heads, head_dim=head_dim),
            "mlp": MLP(intermediate_size=inner, activation=activation),
            "norm": LayerNorm(eps=1e-12),
            "head": head,
        }
        return ModelSpec(**given | others)

    return make


@pytest.fixture
def make_engine_dir() -> MakeEngineDir:
    return random_engine_dir
