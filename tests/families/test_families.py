"""Configs and tensor tables of all families against transformers."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import transformers

from openbei.build.check import match_tensors
from openbei.build.expand import weights_of
from openbei.build.stored import read_checkpoint
from openbei.errors import CheckpointError
from openbei.families import FAMILIES, HEADS_BY_SUFFIX, HeadKind, bert, find_family, roberta
from openbei.shapes import linear_shapes, tensor_shapes
from openbei.spec import Dense, EmbeddingHead, Head, LayerNorm, SequenceHead, TermHead, TokenHead

MEAN = EmbeddingHead(poolings=("mean",))
HEADS: dict[HeadKind, Head] = {
    "embedding": MEAN,
    "sequence_labels": SequenceHead(num_labels=2, steps=(Dense(out_features=768, activation="tanh"),)),
    "token_labels": TokenHead(num_labels=2),
    "term_weights": TermHead(steps=(Dense(out_features=768, activation="gelu"), LayerNorm(eps=1e-12))),
}
SMALL: dict[str, Any] = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "embedding_size": 8,
    "num_attention_heads": 2,
    "head_dim": 4,
    "num_key_value_heads": 1,
    "intermediate_size": 4,
    "vocab_size": 9,
    "pad_token_id": 0,
    "classifier_pooling": "mean",
}
IN_TRANSFORMERS = [
    prefix + suffix for prefix in FAMILIES for suffix in HEADS_BY_SUFFIX if hasattr(transformers, prefix + suffix)
]


@pytest.mark.parametrize("architecture", IN_TRANSFORMERS)
def test_tensors_are_those_of_transformers(architecture: str, tmp_path: Path) -> None:
    """Checkpoint and engine tensors match, in names and shapes."""
    family, kinds = find_family(architecture)
    model_class = getattr(transformers, architecture)
    model_class(model_class.config_class(**SMALL)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for kind in kinds:
        if kind not in family.HEADS:
            continue
        head = msgspec.structs.replace(HEADS[kind], steps=family.steps(config, kind))
        spec = family.parse(config, head)
        computed = family.computed(config, spec) if hasattr(family, "computed") else {}
        match_tensors(read_checkpoint(tmp_path), family, kind, spec, computed)


@pytest.mark.parametrize("family", [bert, roberta])
@pytest.mark.parametrize("kind", HEADS)
def test_fills_every_engine_tensor(family: Any, kind: HeadKind) -> None:
    spec = family.parse({"num_hidden_layers": 1}, HEADS[kind])
    engine = {name.format(0) for _, names in weights_of(family, kind) for name in names}
    assert engine == set(tensor_shapes(spec))
    assert family.steps({}, kind) == HEADS[kind].steps


def test_defaults_are_those_of_transformers() -> None:
    assert bert.parse(transformers.BertConfig().to_dict(), MEAN) == bert.parse({}, MEAN)
    assert roberta.parse(transformers.RobertaConfig().to_dict(), MEAN) == roberta.parse({}, MEAN)


def test_positions_of_roberta_start_after_the_padding_id() -> None:
    spec = roberta.parse({"max_position_embeddings": 514, "pad_token_id": 1}, MEAN)
    assert (spec.positions.first, spec.positions.max_positions, spec.positions.num_rows) == (2, 512, 514)
    with pytest.raises(CheckpointError, match="pad_token_id is 600; positions start after it"):
        roberta.parse({"pad_token_id": 600}, MEAN)


def test_spec() -> None:
    spec = bert.parse(
        {"hidden_size": 30, "num_attention_heads": 5, "hidden_act": "gelu_new", "num_hidden_layers": 2}, MEAN
    )
    assert (spec.attention.head_dim, spec.query_size, spec.mlp.activation) == (6, 30, "gelu_tanh")
    assert linear_shapes(spec, 0)["attention.qkv"] == (90, 30)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hidden_act": "gelu_10"}, "hidden_act is 'gelu_10'; supported: gelu, "),
        ({"position_embedding_type": "alibi"}, "position_embedding_type is 'alibi'; .* only 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True; the family bert supports only False"),
        ({"hidden_size": 30, "num_attention_heads": 7}, "hidden_size is 30; it must be a multiple"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
    ],
)
def test_refuses(config: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        bert.parse(config, MEAN)


@pytest.mark.parametrize("name", ["T5ForCausalLM", "BertForQuestionAnswering", "Bert", "RobertaPreLayerNormModel"])
def test_unknown_architectures(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"unsupported architecture '{name}'; supported are Bert, Roberta, "):
        find_family(name)
