"""MPNet against transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from openbei.errors import CheckpointError
from openbei.families import mpnet
from openbei.spec import EmbeddingHead

from .parity import check_family

MEAN = EmbeddingHead(poolings=("mean",))


@pytest.mark.parametrize(
    "config",
    [
        {"max_position_embeddings": 402},  # distances beyond the last bucket
        {"num_attention_heads": 8, "num_hidden_layers": 3, "hidden_act": "relu", "layer_norm_eps": 1e-5},
    ],
)
def test_hidden_states(config: dict[str, Any], make_checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    check_family(make_checkpoint(architecture="MPNetModel", **config), tmp_path)


def test_defaults_are_those_of_transformers() -> None:
    assert mpnet.parse(transformers.MPNetConfig().to_dict(), MEAN) == mpnet.parse({}, MEAN)


def test_positions_start_at_two() -> None:
    """Whatever pad_token_id is."""
    spec = mpnet.parse({"max_position_embeddings": 514, "pad_token_id": 7}, MEAN)
    assert (spec.positions.max_positions, spec.positions.num_rows) == (512, 514)


def test_refuses_other_buckets() -> None:
    with pytest.raises(
        CheckpointError, match="relative_attention_num_buckets is 64; the family mpnet supports only 32"
    ):
        mpnet.parse({"relative_attention_num_buckets": 64}, MEAN)
