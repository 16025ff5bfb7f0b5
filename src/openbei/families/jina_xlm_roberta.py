"""Jina's XLM-RoBERTa with rotary embeddings, as in jina-colbert-v2; transformers' modeling_jina_embeddings_v3.py.

Tensor names are those of jinaai/xlm-roberta-flash-implementation, which transformers also saves. Adapters (LoRA) are
not supported.
"""

from collections.abc import Mapping

import msgspec

from openbei.families import HeadKind, bert, roberta
from openbei.families.fields import check_fixed, rotary
from openbei.spec import Head, ModelSpec, NoPositions, Step

PREFIX = "roberta."
OLD_SUFFIXES = dict[str, str]()
WEIGHTS = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.token_type_embeddings.weight": "embeddings.type",
    "emb_ln": "embeddings.norm",
    "encoder.layers.{}.mixer.Wqkv": "layers.{}.attention.qkv",
    "encoder.layers.{}.mixer.out_proj": "layers.{}.attention.out",
    "encoder.layers.{}.norm1": "layers.{}.attention.norm",
    "encoder.layers.{}.mlp.fc1": "layers.{}.mlp.up",
    "encoder.layers.{}.mlp.fc2": "layers.{}.mlp.down",
    "encoder.layers.{}.norm2": "layers.{}.mlp.norm",
}
HEADS, TIED, DROPPED = roberta.HEADS, roberta.TIED, roberta.DROPPED

DEFAULTS = {
    "vocab_size": 250002,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 8194,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
"""Defaults that differ from BertConfig's; the same in transformers and in Jina's repository."""

FIXED = {"position_embedding_type": "rotary"}


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    check_fixed(config, "jina_xlm_roberta", FIXED)
    spec = bert.parse(_as_bert(config), head, family="jina_xlm_roberta")
    if {"auto_map", "rotary_emb_base"} & config.keys():  # Jina's repository
        config = {**config, "rope_theta": config.get("rotary_emb_base", 10_000.0)}
    rotary_embedding = rotary(config, spec.attention.head_dim, theta=20_000.0)
    return msgspec.structs.replace(
        spec,
        positions=NoPositions(max_positions=spec.positions.max_positions),
        attention=msgspec.structs.replace(spec.attention, rotary=rotary_embedding),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """The same as in RoBERTa."""
    return roberta.steps(_as_bert(config), kind)


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """The config with all defaults, and BERT's kind of positions."""
    return {**DEFAULTS, **config, "position_embedding_type": "absolute"}
