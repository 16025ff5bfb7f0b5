"""ELECTRA (Clark et al., arXiv:2003.10555): BERT with different heads; transformers' modeling_electra.py."""

from collections.abc import Mapping

from openbei.families import HeadKind, bert
from openbei.families.fields import check_fixed, dense_steps
from openbei.spec import Head, ModelSpec, Step

PREFIX = "electra."
OLD_SUFFIXES = bert.OLD_SUFFIXES
WEIGHTS = bert.WEIGHTS
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"classifier.dense": "head.0.dense", "classifier.out_proj": "head.out"},
    "token_labels": {"classifier": "head.out"},
    "term_weights": {
        "generator_predictions.dense": "head.0.dense",
        "generator_predictions.LayerNorm": "head.1.norm",
        "generator_lm_head": "head.out",
    },
}
TIED = {"generator_lm_head.weight": "embeddings.word_embeddings.weight"}
DROPPED = (
    "embeddings.position_ids",
    "discriminator_predictions.dense",
    "discriminator_predictions.dense_prediction",
    *HEADS["term_weights"],
)

DEFAULTS = {"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
"""Defaults of ElectraConfig that differ from BertConfig's."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError, also if embedding_size is not hidden_size."""
    config = {**DEFAULTS, **config}
    check_fixed(config, "electra", {"embedding_size": config["hidden_size"]})
    return bert.parse(config, head, family="electra")


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ElectraClassificationHead for sequence labels, ElectraGeneratorPredictions for term weights."""
    electra = bert.parse_config({**DEFAULTS, **config})
    if kind == "term_weights":
        return dense_steps(electra.hidden_size, "gelu", electra.layer_norm_eps)
    return dense_steps(electra.hidden_size, "gelu") if kind == "sequence_labels" else ()
