"""EuroBERT (Boizard et al., arXiv:2503.05500): a bidirectional Llama; modeling_eurobert.py."""

from collections.abc import Mapping

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, llama
from openbei.families.fields import dense_steps, maps_without_bias, parse_fields
from openbei.spec import Head, ModelSpec, Pooling, SequenceHead, Step

PREFIX, TIED, OLD_SUFFIXES = llama.PREFIX, llama.TIED, llama.OLD_SUFFIXES
WEIGHTS = llama.WEIGHTS
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {"dense": "head.0.dense", "classifier": "head.out"},
    "token_labels": {"classifier": "head.out"},
}
DROPPED = llama.DROPPED

DEFAULTS = {
    "vocab_size": 128256,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
}
"""Defaults of EuroBertConfig."""


CLASSIFIER_POOLINGS: dict[str, Pooling] = {"bos": "cls", "mean": "mean"}
"""`classifier_pooling` of config.json -> pooling in a spec."""


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    spec = llama.parse({**DEFAULTS, **config, "is_causal": False}, head, family="eurobert")
    spec = msgspec.structs.replace(spec, linears_without_bias=maps_without_bias(config))
    if not isinstance(head, SequenceHead):
        return spec
    pooling = str(config.get("classifier_pooling", "late"))
    if pooling not in CLASSIFIER_POOLINGS:
        supported = ", ".join(CLASSIFIER_POOLINGS)
        raise CheckpointError(f"config.json: classifier_pooling is {pooling!r}; supported: {supported}")
    head = msgspec.structs.replace(head, pooling=CLASSIFIER_POOLINGS[pooling])
    return msgspec.structs.replace(spec, head=head)


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """A Dense layer for sequence labels."""
    width = parse_fields({**DEFAULTS, **config}, llama.DecoderConfig).hidden_size
    return dense_steps(width, "gelu") if kind == "sequence_labels" else ()
