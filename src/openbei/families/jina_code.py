"""JinaBERT of the kind qk-post-norm, as jina-embeddings-v2-base-code: more norms, and a layer's input is added twice.

Tensors as jinaai/jina-bert-v2-qk-post-norm names them. Of up_gated_layer the second half goes through the activation.
"""

from collections.abc import Mapping

import msgspec

from openbei.families import jina_bert
from openbei.spec import Head, ModelSpec

PREFIX = jina_bert.PREFIX
OLD_SUFFIXES, HEADS, TIED, DROPPED = jina_bert.OLD_SUFFIXES, jina_bert.HEADS, jina_bert.TIED, jina_bert.DROPPED
WEIGHTS: dict[str, str | tuple[str, ...]] = {
    **{theirs: ours for theirs, ours in jina_bert.WEIGHTS.items() if ".mlp." not in theirs},
    "encoder.layer.{}.attention.self.layer_norm_q": "layers.{}.attention.q_norm",
    "encoder.layer.{}.attention.self.layer_norm_k": "layers.{}.attention.k_norm",
    "encoder.layer.{}.layer_norm_1": "layers.{}.attention.post_norm",
    "encoder.layer.{}.mlp.up_gated_layer": ("layers.{}.mlp.up", "layers.{}.mlp.gate"),
    "encoder.layer.{}.mlp.down_layer": "layers.{}.mlp.down",
    "encoder.layer.{}.layer_norm_2": "layers.{}.mlp.norm",
}
steps = jina_bert.steps


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    spec = jina_bert.parse(config, head)
    attention = msgspec.structs.replace(spec.attention, norm=spec.norm, norms_all_heads=True)
    return msgspec.structs.replace(spec, family="jina_code", attention=attention, adds_input_twice=True)
