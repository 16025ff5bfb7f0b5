"""GTE's encoders (Zhang et al., arXiv:2407.19669): BERT's layers with rotary positions and a gated MLP.

Tensors as the repositories of Alibaba-NLP name them, whose architectures are called New; transformers saves its
GteModel with the same names.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.families import HeadKind, bert
from openbei.families.fields import allow_only, fields_of, rotary, transform
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
"""Those of transformers' GteConfig that are not BertConfig's."""

ONLY = {"position_embedding_type": "rope", "layer_norm_type": "layer_norm", "logn_attention_scale": False,
        "pack_qkv": True}  # fmt: skip


class Stretch(msgspec.Struct, frozen=True):
    """rope_scaling of the type ntk, which only these repositories have."""

    factor: Annotated[float, msgspec.Meta(ge=1)]
    mixed_b: None = None


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    spec = bert.parse(_as_bert(config), head, family="gte")
    allow_only(config, "gte", {**ONLY, "head_dim": spec.attention.head_dim})
    attention = msgspec.structs.replace(spec.attention, rotary=_rotary(config, spec.attention.head_dim))
    return msgspec.structs.replace(
        spec,
        type_vocab_size=spec.type_vocab_size if config.get("type_vocab_size") != 0 else 0,
        positions=NoPositions(max_positions=spec.positions.max_positions),
        attention=attention,
        mlp=GatedMLP(intermediate_size=spec.mlp.intermediate_size, activation=spec.mlp.activation),
        unbiased=("mlp.gate", "mlp.up"),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """GtePooler for sequences, GteLMHead for the vocabulary."""
    it = bert.read(_as_bert(config))
    if kind == "term_weights":
        return transform(it.hidden_size, "gelu", it.layer_norm_eps)
    return transform(it.hidden_size, "tanh") if kind == "sequence_labels" else ()


def _as_bert(config: Mapping[str, object]) -> dict[str, object]:
    """What BERT's config says, too: no tables of positions, and one of types even where there is none."""
    given = {**DEFAULTS, **config, "position_embedding_type": "absolute"}
    return {**given, "type_vocab_size": given["type_vocab_size"] or 1}


def _rotary(config: Mapping[str, object], head_dim: int) -> Rotary:
    """A stretch of the type ntk is one of the base, at all lengths (kexue.fm/archives/9706)."""
    given, theta = config.get("rope_scaling"), config.get("rope_theta")
    if not isinstance(given, Mapping) or given.get("type") != "ntk" or not isinstance(theta, int | float):
        return rotary(config, head_dim, theta=160_000.0)
    factor = fields_of(given, Stretch).factor
    plain = rotary({"rope_theta": theta * factor}, head_dim).frequencies
    return Rotary(frequencies=tuple(each / factor ** (2 / head_dim) for each in plain))
