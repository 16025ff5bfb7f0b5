"""BERT (Devlin et al., arXiv:1810.04805); transformers' modeling_bert.py."""

from collections.abc import Mapping

import msgspec

from openbei.families import HeadKind
from openbei.families.fields import (
    ACTIVATIONS,
    Epsilon,
    Layers,
    Size,
    activation,
    check_fixed,
    checked_head_dim,
    dense_steps,
    parse_fields,
)
from openbei.spec import MLP, Attention, Head, LayerNorm, LearnedPositions, ModelSpec, Step

PREFIX = "bert."
OLD_SUFFIXES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}

WEIGHTS = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.position_embeddings.weight": "embeddings.position",
    "embeddings.token_type_embeddings.weight": "embeddings.type",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.layer.{}.attention.self.query": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.self.key": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.self.value": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.output.dense": "layers.{}.attention.out",
    "encoder.layer.{}.attention.output.LayerNorm": "layers.{}.attention.norm",
    "encoder.layer.{}.intermediate.dense": "layers.{}.mlp.up",
    "encoder.layer.{}.output.dense": "layers.{}.mlp.down",
    "encoder.layer.{}.output.LayerNorm": "layers.{}.mlp.norm",
}
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"pooler.dense": "head.0.dense", "classifier": "head.out"},
    "token_labels": {"classifier": "head.out"},
    "term_weights": {
        "cls.predictions.transform.dense": "head.0.dense",
        "cls.predictions.transform.LayerNorm": "head.1.norm",
        "cls.predictions.decoder": "head.out",
    },
}
TIED = {
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
DROPPED = (
    "embeddings.position_ids",
    "cls.predictions.bias",
    "cls.seq_relationship",
    "pooler.dense",
    *HEADS["term_weights"],
)

FIXED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}


class BertConfig(msgspec.Struct, frozen=True):
    """The fields of config.json that affect inference, with the defaults of transformers' BertConfig."""

    vocab_size: Size = 30522
    hidden_size: Size = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Size = 12
    intermediate_size: Size = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: Size = 512
    type_vocab_size: Size = 2
    layer_norm_eps: Epsilon = 1e-12


def parse_config(config: Mapping[str, object]) -> BertConfig:
    """Parse and validate a config.json. Raises CheckpointError."""
    check_fixed(config, "bert", FIXED)
    bert = parse_fields(config, BertConfig)
    activation("hidden_act", bert.hidden_act)
    checked_head_dim(bert.hidden_size, bert.num_attention_heads)
    return bert


def parse(
    config: Mapping[str, object], head: Head, *, family: str = "bert", padding_id: int | None = None
) -> ModelSpec:
    """Convert a config.json; with a `padding_id`, positions start at padding_id + 1. Raises CheckpointError."""
    bert = parse_config(config)
    num_heads, first = bert.num_attention_heads, 0 if padding_id is None else padding_id + 1
    return ModelSpec(
        family=family,
        vocab_size=bert.vocab_size,
        type_vocab_size=bert.type_vocab_size,
        hidden_size=bert.hidden_size,
        num_layers=bert.num_hidden_layers,
        positions=LearnedPositions(
            max_positions=bert.max_position_embeddings - first, first=first, padding_id=padding_id
        ),
        attention=Attention(num_heads=num_heads, num_kv_heads=num_heads, head_dim=bert.hidden_size // num_heads),
        mlp=MLP(intermediate_size=bert.intermediate_size, activation=ACTIVATIONS[bert.hidden_act]),
        norm=LayerNorm(eps=bert.layer_norm_eps),
        head=head,
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """BertPooler for sequences, BertPredictionHeadTransform for the vocabulary."""
    bert = parse_config(config)
    if kind == "term_weights":
        return dense_steps(bert.hidden_size, ACTIVATIONS[bert.hidden_act], bert.layer_norm_eps)
    return dense_steps(bert.hidden_size, "tanh") if kind == "sequence_labels" else ()
