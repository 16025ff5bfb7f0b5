"""DistilBERT (Sanh et al., arXiv:1910.01108): BERT without token types; transformers' modeling_distilbert.py."""

from collections.abc import Mapping

import msgspec

from openbei.families import HeadKind, bert
from openbei.families.fields import check_fixed, dense_steps
from openbei.spec import Head, ModelSpec, Step

PREFIX = "distilbert."
OLD_SUFFIXES = bert.OLD_SUFFIXES
WEIGHTS = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.position_embeddings.weight": "embeddings.position",
    "embeddings.LayerNorm": "embeddings.norm",
    "transformer.layer.{}.attention.q_lin": "layers.{}.attention.qkv",
    "transformer.layer.{}.attention.k_lin": "layers.{}.attention.qkv",
    "transformer.layer.{}.attention.v_lin": "layers.{}.attention.qkv",
    "transformer.layer.{}.attention.out_lin": "layers.{}.attention.out",
    "transformer.layer.{}.sa_layer_norm": "layers.{}.attention.norm",
    "transformer.layer.{}.ffn.lin1": "layers.{}.mlp.up",
    "transformer.layer.{}.ffn.lin2": "layers.{}.mlp.down",
    "transformer.layer.{}.output_layer_norm": "layers.{}.mlp.norm",
}
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"pre_classifier": "head.0.dense", "classifier": "head.out"},
    "token_labels": {"classifier": "head.out"},
    "term_weights": {
        "vocab_transform": "head.0.dense",
        "vocab_layer_norm": "head.1.norm",
        "vocab_projector": "head.out",
    },
}
TIED = {"vocab_projector.weight": "embeddings.word_embeddings.weight"}
DROPPED = ("embeddings.position_ids", *HEADS["term_weights"])

DEFAULTS = {"num_hidden_layers": 6, "activation": "gelu", "hidden_dim": 3072}
"""Defaults of DistilBertConfig that differ from BertConfig's."""

FIELDS = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
}
"""Field of DistilBertConfig -> the same field of BertConfig."""

ALIASES = ("dim", "n_layers", "n_heads")
"""Keys of FIELDS that a config.json may have under BERT's name."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    return msgspec.structs.replace(bert.parse(_as_bert(config), head, family="distilbert"), type_vocab_size=0)


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """pre_classifier for sequence labels, vocab_transform and vocab_layer_norm for term weights."""
    if kind == "sequence_labels":
        return dense_steps(bert.parse_config(_as_bert(config)).hidden_size, "relu")
    return bert.steps(_as_bert(config), kind)


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """The config with BERT's field names. Raises CheckpointError if a field and its alias disagree."""
    check_fixed(config, "distilbert", {FIELDS[name]: config[name] for name in ALIASES if name in config})
    distilbert = {**DEFAULTS, **config, "layer_norm_eps": 1e-12, "type_vocab_size": 1}
    renamed = {bert_name: distilbert[name] for name, bert_name in FIELDS.items() if name in distilbert}
    return {**distilbert, **renamed}
