"""RoBERTa (Liu et al., arXiv:1907.11692), XLM-RoBERTa and CamemBERT: BERT's layers; modeling_roberta.py.

Positions start at pad_token_id + 1 and skip padding tokens. The heads have different tensor names.
"""

from collections.abc import Mapping

from openbei.errors import CheckpointError
from openbei.families import HeadKind, bert
from openbei.families.fields import dense_steps
from openbei.spec import Head, ModelSpec, Step

PREFIX = "roberta."
OLD_SUFFIXES = bert.OLD_SUFFIXES
WEIGHTS = bert.WEIGHTS
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"classifier.dense": "head.0.dense", "classifier.out_proj": "head.out"},
    "token_labels": {"classifier": "head.out"},
    "term_weights": {
        "lm_head.dense": "head.0.dense",
        "lm_head.layer_norm": "head.1.norm",
        "lm_head.decoder": "head.out",
    },
}
TIED = {"lm_head.decoder.weight": "embeddings.word_embeddings.weight", "lm_head.decoder.bias": "lm_head.bias"}
DROPPED = ("embeddings.position_ids", "lm_head.bias", "pooler.dense", *HEADS["term_weights"])

DEFAULTS = {"vocab_size": 50265, "pad_token_id": 1}
"""Defaults of RobertaConfig that differ from BertConfig's."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    config = {**DEFAULTS, **config}
    padding = config["pad_token_id"]
    positions = config.get("max_position_embeddings", 512)
    if not isinstance(padding, int) or not isinstance(positions, int) or not 0 <= padding < positions - 1:
        raise CheckpointError(
            f"config.json: pad_token_id is {padding!r}; positions start after it, and max_position_embeddings is "
            f"{positions!r}"
        )
    return bert.parse(config, head, family="roberta", padding_id=padding)


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """RobertaClassificationHead for sequence labels, RobertaLMHead for term weights."""
    if kind == "term_weights":
        roberta = bert.parse_config({**DEFAULTS, **config})
        return dense_steps(roberta.hidden_size, "gelu", roberta.layer_norm_eps)
    return bert.steps(config, kind)
