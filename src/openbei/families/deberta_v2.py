"""DeBERTa-v2 and v3 (He et al., arXiv:2006.03654, 2111.09543): BERT's layers, whose content meets relative positions.

transformers' modeling_deberta_v2.py; from v2-xlarge on with a convolution. A build computes the tables of positions.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, bert
from openbei.families.computed import Computed, convolution, relative_tables
from openbei.families.fields import RelativePositions, activation, allow_only, fields_of, transform
from openbei.spec import Convolution, Head, ModelSpec, NoPositions, Step

PREFIX = ("deberta.", "cls.predictions.", "transform.", "lm_predictions.lm_head.")
OLD_SUFFIXES = bert.OLD_SUFFIXES
_SELF = "encoder.layer.{}.attention.self"
WEIGHTS = {
    **{theirs: ours for theirs, ours in bert.WEIGHTS.items() if ".self." not in theirs},
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
DROPPED = ("embeddings.position_ids", "embeddings.position_embeddings", "encoder.rel_embeddings", "encoder.LayerNorm",
           f"{_SELF}.pos_key_proj", f"{_SELF}.pos_query_proj", "pooler.dense", "bias", *HEADS["term_weights"],
           *(f"mask_predictions.{part}" for part in ("dense", "LayerNorm", "classifier")))  # fmt: skip

DEFAULTS = {"vocab_size": 128100, "hidden_size": 1536, "num_hidden_layers": 24, "num_attention_heads": 24,
            "intermediate_size": 6144, "layer_norm_eps": 1e-7}  # fmt: skip
"""Those of DebertaV2Config that are not BertConfig's."""


class DebertaConfig(msgspec.Struct, frozen=True):
    """What config.json has besides BERT's fields."""

    type_vocab_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    relative_attention: bool = False
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    position_biased_input: bool = True
    pooler_hidden_act: str = "gelu"
    conv_kernel_size: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0
    conv_act: str = "tanh"

    def convolution(self) -> Convolution | None:
        """What tokens get of their neighbours'. Raises CheckpointError."""
        if not (width := self.conv_kernel_size):
            return None
        if width % 2 == 0:
            raise CheckpointError(f"config.json: conv_kernel_size is {width}; it must be odd")
        return Convolution(width=width, activation=activation("conv_act", self.conv_act))


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError, also for embeddings of another width than the layers'."""
    config = {**DEFAULTS, **config}
    deberta = fields_of(config, DebertaConfig)
    spec = bert.parse({**config, "type_vocab_size": 1}, head, family="deberta_v2")
    head_dim = spec.attention.head_dim
    only = {"attention_head_size": head_dim, "conv_groups": 1}
    only |= dict.fromkeys(("embedding_size", "pooler_hidden_size"), spec.hidden_size)
    allow_only(config, "deberta_v2", only)
    bias, positions = fields_of(config, RelativePositions).bias(), spec.positions
    attention = msgspec.structs.replace(
        spec.attention,
        scale=(head_dim * (1 + len(bias.terms))) ** -0.5,
        bias=bias if deberta.relative_attention and bias.terms else None,
    )
    if not deberta.position_biased_input:
        positions = NoPositions(max_positions=positions.max_positions)
    return msgspec.structs.replace(
        spec, type_vocab_size=deberta.type_vocab_size, attention=attention, positions=positions,
        convolution=deberta.convolution(),
    )  # fmt: skip


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ContextPooler for sequences, the head for masks for the vocabulary."""
    as_bert = {**DEFAULTS, **config, "type_vocab_size": 1}
    if kind == "sequence_labels":
        bends = activation("pooler_hidden_act", fields_of(config, DebertaConfig).pooler_hidden_act)
        return transform(bert.read(as_bert).hidden_size, bends)
    return bert.steps(as_bert, kind)


def computed(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Computed]:
    """The convolution, and relative tables by a layer's own maps or, with share_att_key, by its queries' and keys'."""
    deberta = fields_of(config, DebertaConfig)
    has_norm = "layer_norm" in (part.strip() for part in deberta.norm_rel_ebd.lower().split("|"))
    tables = relative_tables(spec, f"{_SELF}.{'' if deberta.share_att_key else 'pos_'}", has_norm=has_norm)
    return tables | convolution(spec, "encoder.conv.conv.weight")
