"""DeBERTa-v2 and v3 (He et al., arXiv:2006.03654, 2111.09543): BERT with disentangled attention.

transformers' modeling_deberta_v2.py. v2-xlarge and larger have a convolution. The projected relative position
embeddings do not depend on the input, so a build computes them.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, bert
from openbei.families.computed import Computed, convolution, relative_position_tables
from openbei.families.fields import RelativePositionFields, activation, check_fixed, dense_steps, parse_fields
from openbei.spec import Convolution, Head, ModelSpec, NoPositions, Step

PREFIX = ("deberta.", "cls.predictions.", "transform.", "lm_predictions.lm_head.")
OLD_SUFFIXES = bert.OLD_SUFFIXES
_SELF = "encoder.layer.{}.attention.self"
WEIGHTS = {
    **{name: engine_name for name, engine_name in bert.WEIGHTS.items() if ".self." not in name},
    **{f"{_SELF}.{part}_proj": "layers.{}.attention.qkv" for part in ("query", "key", "value")},
    "encoder.conv.conv.bias": "layers.0.convolution.bias",
    "encoder.conv.LayerNorm": "layers.0.convolution.norm",
}
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"pooler.dense": "head.0.dense", "classifier": "head.out"},
    "token_labels": {"classifier": "head.out"},
    "term_weights": {"dense": "head.0.dense", "LayerNorm": "head.1.norm", "decoder": "head.out"},
}
TIED = {"decoder.weight": "embeddings.word_embeddings.weight", "decoder.bias": "bias"}
DROPPED = (
    "embeddings.position_ids",
    "embeddings.position_embeddings",
    "encoder.rel_embeddings",
    "encoder.LayerNorm",
    f"{_SELF}.pos_key_proj",
    f"{_SELF}.pos_query_proj",
    "pooler.dense",
    "bias",
    *HEADS["term_weights"],
    *(f"mask_predictions.{part}" for part in ("dense", "LayerNorm", "classifier")),
)

DEFAULTS = {
    "vocab_size": 128100,
    "hidden_size": 1536,
    "num_hidden_layers": 24,
    "num_attention_heads": 24,
    "intermediate_size": 6144,
    "layer_norm_eps": 1e-7,
}
"""Defaults of DebertaV2Config that differ from BertConfig's."""


class DebertaConfig(msgspec.Struct, frozen=True):
    """The fields of config.json that BERT does not have."""

    type_vocab_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    relative_attention: bool = False
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    position_biased_input: bool = True
    pooler_hidden_act: str = "gelu"
    conv_kernel_size: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    conv_act: str = "tanh"

    def convolution(self) -> Convolution | None:
        """The convolution of the first layer. Raises CheckpointError."""
        if not (width := self.conv_kernel_size):
            return None
        if width % 2 == 0:
            raise CheckpointError(f"config.json: conv_kernel_size is {width}; it must be odd")
        return Convolution(width=width, activation=activation("conv_act", self.conv_act))


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError, also if embedding_size is not hidden_size."""
    config = {**DEFAULTS, **config}
    deberta = parse_fields(config, DebertaConfig)
    spec = bert.parse({**config, "type_vocab_size": 1}, head, family="deberta_v2")
    head_dim = spec.attention.head_dim
    fixed = {"attention_head_size": head_dim, "conv_groups": 1}
    fixed |= dict.fromkeys(("embedding_size", "pooler_hidden_size"), spec.hidden_size)
    check_fixed(config, "deberta_v2", fixed)
    bias, positions = parse_fields(config, RelativePositionFields).bias(), spec.positions
    attention = msgspec.structs.replace(
        spec.attention,
        scale=(head_dim * (1 + len(bias.terms))) ** -0.5,
        bias=bias if deberta.relative_attention and bias.terms else None,
    )
    if not deberta.position_biased_input:
        positions = NoPositions(max_positions=positions.max_positions)
    return msgspec.structs.replace(
        spec,
        type_vocab_size=deberta.type_vocab_size,
        attention=attention,
        positions=positions,
        convolution=deberta.convolution(),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ContextPooler for sequence labels, the masked language model's head for term weights."""
    as_bert = {**DEFAULTS, **config, "type_vocab_size": 1}
    if kind == "sequence_labels":
        pooler_act = activation("pooler_hidden_act", parse_fields(config, DebertaConfig).pooler_hidden_act)
        return dense_steps(bert.parse_config(as_bert).hidden_size, pooler_act)
    return bert.steps(as_bert, kind)


def computed(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Computed]:
    """The convolution and the relative position tables, projected as queries and keys are if share_att_key is set."""
    deberta = parse_fields(config, DebertaConfig)
    has_norm = "layer_norm" in (part.strip() for part in deberta.norm_rel_ebd.lower().split("|"))
    prefix = f"{_SELF}." if deberta.share_att_key else f"{_SELF}.pos_"
    tables = relative_position_tables(spec, prefix, has_norm=has_norm)
    return tables | convolution(spec, "encoder.conv.conv.weight")
