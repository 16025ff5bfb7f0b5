"""GTE encoders (Zhang et al., arXiv:2407.19669): BERT with rotary embeddings and a gated MLP.

Tensor names are those of Alibaba-NLP's repositories, whose architectures start with "New". transformers saves its
GteModel with the same names.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.families import HeadKind, bert
from openbei.families.fields import check_fixed, dense_steps, parse_fields, rotary
from openbei.spec import GatedMLP, Head, ModelSpec, NoPositions, Rotary, Step

PREFIX = ("gte.", "new.")
OLD_SUFFIXES = dict[str, str]()
WEIGHTS: dict[str, str | tuple[str, ...]] = {
    "embeddings.word_embeddings.weight": "embeddings.token",
    "embeddings.token_type_embeddings.weight": "embeddings.type",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.layer.{}.attention.qkv_proj": "layers.{}.attention.qkv",
    "encoder.layer.{}.attention.o_proj": "layers.{}.attention.out",
    "encoder.layer.{}.attn_ln": "layers.{}.attention.norm",
    "encoder.layer.{}.mlp.up_gate_proj": ("layers.{}.mlp.up", "layers.{}.mlp.gate"),
    "encoder.layer.{}.mlp.down_proj": "layers.{}.mlp.down",
    "encoder.layer.{}.mlp_ln": "layers.{}.mlp.norm",
}
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"pooler.dense": "head.0.dense", "classifier": "head.out"},
    "token_labels": {"classifier": "head.out"},
    "term_weights": {"lm_head.dense": "head.0.dense", "lm_head.norm": "head.1.norm", "lm_head.decoder": "head.out"},
}
TIED = {"lm_head.decoder.weight": "embeddings.word_embeddings.weight"}
DROPPED = ("classifier", "pooler.dense", *HEADS["term_weights"])

DEFAULTS = {"vocab_size": 250048, "max_position_embeddings": 8192, "type_vocab_size": 1}
"""Defaults of transformers' GteConfig that differ from BertConfig's."""

FIXED = {
    "position_embedding_type": "rope",
    "layer_norm_type": "layer_norm",
    "logn_attention_scale": False,
    "pack_qkv": True,
}


class NtkScaling(msgspec.Struct, frozen=True):
    """`rope_scaling` of type "ntk", which only these repositories use."""

    factor: Annotated[float, msgspec.Meta(ge=1)]
    mixed_b: None = None


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    spec = bert.parse(_as_bert(config), head, family="gte")
    check_fixed(config, "gte", {**FIXED, "head_dim": spec.attention.head_dim})
    attention = msgspec.structs.replace(spec.attention, rotary=_rotary(config, spec.attention.head_dim))
    return msgspec.structs.replace(
        spec,
        type_vocab_size=spec.type_vocab_size if config.get("type_vocab_size") != 0 else 0,
        positions=NoPositions(max_positions=spec.positions.max_positions),
        attention=attention,
        mlp=GatedMLP(intermediate_size=spec.mlp.intermediate_size, activation=spec.mlp.activation),
        linears_without_bias=("mlp.gate", "mlp.up"),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """GtePooler for sequence labels, GteLMHead for term weights."""
    gte = bert.parse_config(_as_bert(config))
    if kind == "term_weights":
        return dense_steps(gte.hidden_size, "gelu", gte.layer_norm_eps)
    return dense_steps(gte.hidden_size, "tanh") if kind == "sequence_labels" else ()


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """The config with values that BertConfig accepts for position_embedding_type and type_vocab_size."""
    defaulted = {**DEFAULTS, **config, "position_embedding_type": "absolute"}
    return {**defaulted, "type_vocab_size": defaulted["type_vocab_size"] or 1}


def _rotary(config: Mapping[str, object], head_dim: int) -> Rotary:
    """The type "ntk" scales rope_theta, whatever the sequence length (kexue.fm/archives/9706)."""
    scaling, theta = config.get("rope_scaling"), config.get("rope_theta")
    if not isinstance(scaling, Mapping) or scaling.get("type") != "ntk" or not isinstance(theta, int | float):
        return rotary(config, head_dim, theta=160_000.0)
    factor = parse_fields(scaling, NtkScaling).factor
    unscaled = rotary({"rope_theta": theta * factor}, head_dim).frequencies
    return Rotary(frequencies=tuple(frequency / factor ** (2 / head_dim) for frequency in unscaled))
