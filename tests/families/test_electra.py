"""ELECTRA against transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from openbei.errors import CheckpointError
from openbei.families import electra
from openbei.spec import EmbeddingHead

from .parity import check_family

MEAN = EmbeddingHead(poolings=("mean",))


@pytest.mark.parametrize(
    "config",
    [
        {"embedding_size": 64},
        {"embedding_size": 64, "num_attention_heads": 2, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    ],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="ElectraModel", **config), tmp_path)


def test_defaults_are_those_of_transformers() -> None:
    given = transformers.ElectraConfig(embedding_size=256).to_dict()
    assert electra.parse(given, MEAN) == electra.parse({"embedding_size": 256}, MEAN)


def test_refuses_factorized_embeddings() -> None:
    """As in electra-small, which projects embeddings to hidden_size."""
    with pytest.raises(CheckpointError, match="embedding_size is 128; the family electra supports only 256"):
        electra.parse({}, MEAN)
