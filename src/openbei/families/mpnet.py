"""MPNet (Song et al., arXiv:2004.09297): BERT with a learned relative position bias; modeling_mpnet.py.

Positions are numbered as in RoBERTa. There are no token types.
"""

from collections.abc import Mapping

import msgspec

from openbei.attention_bias import BucketBias
from openbei.families import HeadKind, bert, roberta
from openbei.families.fields import check_fixed
from openbei.spec import Head, ModelSpec, Step

PREFIX = "mpnet."
OLD_SUFFIXES = bert.OLD_SUFFIXES
WEIGHTS = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.position_embeddings.weight": "embeddings.position",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.relative_attention_bias.weight": "attention.buckets",
    "encoder.layer.{}.attention.attn.q": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.attn.k": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.attn.v": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.attn.o": "layers.{}.attention.out",
    "encoder.layer.{}.attention.LayerNorm": "layers.{}.attention.norm",
    "encoder.layer.{}.intermediate.dense": "layers.{}.mlp.up",
    "encoder.layer.{}.output.dense": "layers.{}.mlp.down",
    "encoder.layer.{}.output.LayerNorm": "layers.{}.mlp.norm",
}
HEADS = roberta.HEADS
TIED = roberta.TIED
DROPPED = roberta.DROPPED

DEFAULTS = {"vocab_size": 30527, "relative_attention_num_buckets": 32}
"""Defaults of MPNetConfig that differ from BertConfig's."""

_PADDING_ID = 1  # hard-coded in MPNetEmbeddings; pad_token_id has no effect
_BUCKETS = BucketBias(num_buckets=32, max_distance=128)


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    config = {**DEFAULTS, **config, "type_vocab_size": 1}
    check_fixed(config, "mpnet", {"relative_attention_num_buckets": _BUCKETS.num_buckets})
    spec = bert.parse(config, head, family="mpnet", padding_id=_PADDING_ID)
    attention = msgspec.structs.replace(spec.attention, bias=_BUCKETS)
    return msgspec.structs.replace(spec, type_vocab_size=0, attention=attention)


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """MPNetClassificationHead for sequence labels, MPNetLMHead for term weights."""
    return roberta.steps({"layer_norm_eps": 1e-12, **config, "type_vocab_size": 1}, kind)
