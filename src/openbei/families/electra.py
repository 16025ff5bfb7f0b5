"""ELECTRA (Clark et al., arXiv:2003.10555): BERT's layers with other heads; transformers' modeling_electra.py."""

from collections.abc import Mapping

from openbei.errors import CheckpointError
from openbei.families import HeadKind, bert
from openbei.families.fields import transform
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
DROPPED = ("embeddings.position_ids", "discriminator_predictions.dense", "discriminator_predictions.dense_prediction",
           *HEADS["term_weights"])  # fmt: skip

DEFAULTS = {"embedding_size": 128, "hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024}
"""Those of ElectraConfig that are not BertConfig's."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError, also for embeddings of another width than the layers'."""
    config = {**DEFAULTS, **config}
    if config["embedding_size"] != config["hidden_size"]:
        raise CheckpointError(
            f"config.json: embedding_size is {config['embedding_size']!r}; the family electra has only embeddings "
            f"of hidden_size, which is {config['hidden_size']!r}"
        )
    return bert.parse(config, head, family="electra")


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ElectraClassificationHead for sequences, ElectraGeneratorPredictions for the vocabulary."""
    it = bert.read({**DEFAULTS, **config})
    if kind == "term_weights":
        return transform(it.hidden_size, "gelu", it.layer_norm_eps)
    return transform(it.hidden_size, "gelu") if kind == "sequence_labels" else ()
