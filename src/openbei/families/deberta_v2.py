"""DeBERTa-v2 and v3 (He et al., arXiv:2006.03654, 2111.09543): BERT's layers, whose content meets relative positions.

transformers' modeling_deberta_v2.py. The tables of these positions follow from weights: a build computes them.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, bert
from openbei.families.computed import Computed, relative_tables
from openbei.families.fields import activation, allow_only, fields_of, transform
from openbei.spec import Disentangled, Head, ModelSpec, NoPositions, Step

PREFIX = ("deberta.", "cls.predictions.", "transform.", "lm_predictions.lm_head.")
OLD_SUFFIXES = bert.OLD_SUFFIXES
_SELF = "encoder.layer.{}.attention.self"
WEIGHTS = {
    **{theirs: ours for theirs, ours in bert.WEIGHTS.items() if ".self." not in theirs},
    **{f"{_SELF}.{part}_proj": "layers.{}.attention.qkv" for part in ("query", "key", "value")},
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

    max_position_embeddings: int = 512
    type_vocab_size: Annotated[int, msgspec.Meta(ge=0)] = 0
    relative_attention: bool = False
    pos_att_type: str | list[str] | None = None
    position_buckets: int = -1
    max_relative_positions: int = -1
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    position_biased_input: bool = True
    pooler_hidden_act: str = "gelu"

    def bias(self) -> Disentangled:
        """What positions add to scores. Raises CheckpointError."""
        given = self.pos_att_type or []
        names = [name.strip() for name in given.lower().split("|")] if isinstance(given, str) else given
        if unknown := {*names} - {"c2p", "p2c", ""}:
            raise CheckpointError(f"config.json: pos_att_type has {', '.join(sorted(unknown))}; known: c2p, p2c")
        reach = self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings
        span, largest = (self.position_buckets, reach) if self.position_buckets > 0 else (reach, None)
        if largest and not 1 < span < 2 * (largest - 1):
            raise CheckpointError(f"config.json: position_buckets is {span}; it must be 2 to {2 * largest - 3}")
        return Disentangled(span=span, max_distance=largest, terms=tuple(t for t in ("c2p", "p2c") if t in names))


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError, also for embeddings of another width than the layers'."""
    config = {**DEFAULTS, **config}
    allow_only(config, "deberta_v2", {"conv_kernel_size": 0, "embedding_size": config["hidden_size"]})
    deberta = fields_of(config, DebertaConfig)
    spec = bert.parse({**config, "type_vocab_size": 1}, head, family="deberta_v2")
    bias, positions = deberta.bias(), spec.positions
    attention = msgspec.structs.replace(
        spec.attention,
        scale=(spec.attention.head_dim * (1 + len(bias.terms))) ** -0.5,
        bias=bias if deberta.relative_attention and bias.terms else None,
    )
    if not deberta.position_biased_input:
        positions = NoPositions(max_positions=positions.max_positions)
    types = deberta.type_vocab_size
    return msgspec.structs.replace(spec, type_vocab_size=types, attention=attention, positions=positions)


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ContextPooler for sequences, the head for masks for the vocabulary."""
    as_bert = {**DEFAULTS, **config, "type_vocab_size": 1}
    if kind == "sequence_labels":
        bends = activation("pooler_hidden_act", fields_of(config, DebertaConfig).pooler_hidden_act)
        return transform(bert.read(as_bert).hidden_size, bends)
    return bert.steps(as_bert, kind)


def computed(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Computed]:
    """The relative tables, by a layer's own maps or, with share_att_key, by those of its queries and keys."""
    deberta = fields_of(config, DebertaConfig)
    has_norm = "layer_norm" in (part.strip() for part in deberta.norm_rel_ebd.lower().split("|"))
    return relative_tables(spec, f"{_SELF}.{'' if deberta.share_att_key else 'pos_'}", has_norm=has_norm)
