"""EuroBERT (Boizard et al., arXiv:2503.05500): Llama's layers, whose tokens attend both ways; modeling_eurobert.py."""

from collections.abc import Mapping

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, llama
from openbei.families.fields import fields_of, transform, unbiased
from openbei.spec import Head, ModelSpec, SequenceHead, Step

PREFIX, TIED, OLD_SUFFIXES = llama.PREFIX, llama.TIED, llama.OLD_SUFFIXES
WEIGHTS = llama.WEIGHTS
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"dense": "head.0.dense", "classifier": "head.out"},
    "token_labels": {"classifier": "head.out"},
}
DROPPED = llama.DROPPED

DEFAULTS = {
    "vocab_size": 128256, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
    "num_attention_heads": 12, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
}  # fmt: skip
"""Those of EuroBertConfig."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    spec = llama.parse({**DEFAULTS, **config, "is_causal": False}, head, family="eurobert")
    spec = msgspec.structs.replace(spec, unbiased=unbiased(config))
    if not isinstance(head, SequenceHead):
        return spec
    match config.get("classifier_pooling", "late"):
        case "bos":
            return msgspec.structs.replace(spec, head=msgspec.structs.replace(head, pooling="cls"))
        case "mean":
            return msgspec.structs.replace(spec, head=msgspec.structs.replace(head, pooling="mean"))
        case other:
            raise CheckpointError(f"config.json: classifier_pooling is {other!r}; implemented are: 'bos', 'mean'")


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """What a classifier of sequences has."""
    width = fields_of({**DEFAULTS, **config}, llama.Decoder).hidden_size
    return transform(width, "gelu") if kind == "sequence_labels" else ()
