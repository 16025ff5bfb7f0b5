"""DistilBERT (Sanh et al., arXiv:1910.01108): BERT's layers without token types, under other names.

transformers' modeling_distilbert.py.
"""

from collections.abc import Mapping

import msgspec

from openbei.families import HeadKind, bert
from openbei.families.fields import allow_only, transform
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
"""Those of DistilBertConfig that are not BertConfig's."""

FIELDS = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
}
"""Fields of config.json -> BERT's names of them."""

ALIASES = ("dim", "n_layers", "n_heads")
"""Those that a config.json may have under BERT's names instead."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    return msgspec.structs.replace(bert.parse(_as_bert(config), head, family="distilbert"), type_vocab_size=0)


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """pre_classifier for sequences, vocab_transform for the vocabulary."""
    if kind == "sequence_labels":
        return transform(bert.read(_as_bert(config)).hidden_size, "relu")
    return bert.steps(_as_bert(config), kind)


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """The same in BERT's words. The epsilon of norms is no field. Raises CheckpointError for two that disagree."""
    allow_only(config, "distilbert", {FIELDS[name]: config[name] for name in ALIASES if name in config})
    given = {**DEFAULTS, **config, "layer_norm_eps": 1e-12, "type_vocab_size": 1}
    return {**given, **{ours: given[theirs] for theirs, ours in FIELDS.items() if theirs in given}}
