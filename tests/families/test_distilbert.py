"""DistilBERT against transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from openbei.errors import CheckpointError
from openbei.families import distilbert
from openbei.spec import EmbeddingHead

from .parity import check_family

MEAN = EmbeddingHead(poolings=("mean",))


@pytest.mark.parametrize(
    "config",
    [{"hidden_dim": 96}, {"hidden_dim": 160, "num_attention_heads": 2, "num_hidden_layers": 3, "activation": "relu"}],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="DistilBertModel", **config), tmp_path)


def test_defaults_are_those_of_transformers() -> None:
    spec = distilbert.parse({}, MEAN)
    assert distilbert.parse(transformers.DistilBertConfig().to_dict(), MEAN) == spec
    assert (spec.num_layers, spec.type_vocab_size, spec.norm.eps) == (6, 0, 1e-12)


def test_refuses() -> None:
    with pytest.raises(CheckpointError, match="'gelu_10'; supported: gelu, "):
        distilbert.parse({"activation": "gelu_10"}, MEAN)
    with pytest.raises(CheckpointError, match="hidden_size is 30; it must be a multiple of num_attention_heads, 7"):
        distilbert.parse({"dim": 30, "n_heads": 7}, MEAN)
