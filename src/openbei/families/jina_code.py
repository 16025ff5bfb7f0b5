"""JinaBERT with QK-norm, as in jina-embeddings-v2-base-code: more norms, and each layer adds its input twice.

Tensor names are those of jinaai/jina-bert-v2-qk-post-norm. The gate is the second half of up_gated_layer.
"""

from collections.abc import Mapping

import msgspec

from openbei.families import jina_bert
from openbei.spec import Head, ModelSpec

PREFIX = jina_bert.PREFIX
OLD_SUFFIXES, HEADS, TIED, DROPPED = jina_bert.OLD_SUFFIXES, jina_bert.HEADS, jina_bert.TIED, jina_bert.DROPPED
WEIGHTS: dict[str, str | tuple[str, ...]] = {
    **{name: engine_name for name, engine_name in jina_bert.WEIGHTS.items() if ".mlp." not in name},
    "encoder.layer.{}.attention.self.layer_norm_q": "layers.{}.attention.q_norm",
    "encoder.layer.{}.attention.self.layer_norm_k": "layers.{}.attention.k_norm",
    "encoder.layer.{}.layer_norm_1": "layers.{}.attention.post_norm",
    "encoder.layer.{}.mlp.up_gated_layer": ("layers.{}.mlp.up", "layers.{}.mlp.gate"),
    "encoder.layer.{}.mlp.down_layer": "layers.{}.mlp.down",
    "encoder.layer.{}.layer_norm_2": "layers.{}.mlp.norm",
}
steps = jina_bert.steps


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    spec = jina_bert.parse(config, head)
    attention = msgspec.structs.replace(spec.attention, norm=spec.norm, norms_all_heads=True)
    return msgspec.structs.replace(spec, family="jina_code", attention=attention, doubles_residual=True)
