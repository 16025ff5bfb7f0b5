"""The family BERT: its config and its table, against transformers' own."""

from typing import Any

import pytest

from openbei.engine_dir import tensor_shapes
from openbei.errors import CheckpointError
from openbei.families import FAMILIES, bert, find_family
from openbei.spec import linear_shapes


def test_defaults_are_those_of_transformers() -> None:
    from transformers import BertConfig

    assert bert.parse(BertConfig().to_dict()) == bert.parse({})


def test_names_are_those_of_transformers() -> None:
    """Every tensor that BertModel and BertForPreTraining save is in the table, and no other."""
    from transformers import BertConfig, BertForPreTraining

    model = BertForPreTraining(BertConfig(num_hidden_layers=1, hidden_size=4, num_attention_heads=2, vocab_size=9))
    theirs = {name.removeprefix(bert.PREFIX) for name in model.state_dict()}
    ours = {name.format(0) for name in bert.WEIGHTS}
    assert theirs <= ours
    assert ours - theirs <= {"embeddings.position_ids"}


def test_fills_every_engine_tensor() -> None:
    spec = bert.parse({"num_hidden_layers": 1})
    assert {name.format(0) for name in bert.WEIGHTS.values() if name} == set(tensor_shapes(spec))


def test_spec() -> None:
    spec = bert.parse({"hidden_size": 30, "num_attention_heads": 5, "hidden_act": "gelu_new", "num_hidden_layers": 2})
    assert (spec.attention.head_dim, spec.attended_size, spec.mlp.activation) == (6, 30, "gelu_tanh")
    assert linear_shapes(spec)["attention.qkv"] == (90, 30)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_act": "gelu_10"}, "hidden_act is 'gelu_10'; known: gelu, "),
        ({"position_embedding_type": "alibi"}, "position_embedding_type is 'alibi'; .* only 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True; the family bert has only False"),
        ({"hidden_size": 30, "num_attention_heads": 7}, "hidden_size 30 is no multiple of 7"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        bert.parse(config)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_every_family_can_be_found(architecture: str) -> None:
    family = find_family(architecture)
    assert family.parse({}).family
    assert family.WEIGHTS


def test_unknown_architectures() -> None:
    with pytest.raises(CheckpointError, match="'Qwen3ForCausalLM' is not one that openbei builds: BertModel, "):
        find_family("Qwen3ForCausalLM")
