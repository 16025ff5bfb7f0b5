"""Gemma 2 (arXiv:2408.00118) and the text model of Gemma 3 (arXiv:2503.19786); modeling_gemma2.py, modeling_gemma3.py.

Gemma's, with norms before and after each part of a layer, and sliding windows in some layers.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.families import gemma, llama
from openbei.families.fields import Layers, Size, fields_of, rotary
from openbei.spec import Attention, Head, ModelSpec

PREFIX, TIED, OLD_SUFFIXES = llama.PREFIX, llama.TIED, llama.OLD_SUFFIXES
HEADS, DROPPED, steps, adjusted = llama.HEADS, llama.DROPPED, llama.steps, gemma.adjusted
WEIGHTS = {
    **llama.WEIGHTS,
    "layers.{}.post_attention_layernorm": "layers.{}.attention.post_norm",
    "layers.{}.pre_feedforward_layernorm": "layers.{}.mlp.norm",
    "layers.{}.post_feedforward_layernorm": "layers.{}.mlp.post_norm",
}

Positive = Annotated[float, msgspec.Meta(gt=0)]
GLOBAL_THETA, LOCAL_THETA = 1_000_000.0, 10_000.0
"""Defaults of Gemma 3."""


class Gemma2(msgspec.Struct, frozen=True):
    """What Gemma's config.json has not, with transformers' defaults."""

    num_hidden_layers: Layers
    layer_types: tuple[str, ...] | None = None
    sliding_window_pattern: Size | None = None
    query_pre_attn_scalar: Annotated[float, msgspec.Meta(ge=1e-3)] = 256
    attn_logit_softcapping: Positive | None = 50.0


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    is_third = fields_of(config, llama.Decoder).architectures[0].startswith("Gemma3")
    it = fields_of(config, Gemma2)
    pattern = it.sliding_window_pattern or (6 if is_third else 2)
    types = it.layer_types or [
        "full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(it.num_hidden_layers)
    ]
    config = {"num_key_value_heads": 4, "sliding_window": 4096, **config, "layer_types": types}
    spec = gemma.parse(config, head, family="gemma3" if is_third else "gemma2")
    attention = msgspec.structs.replace(spec.attention, scale=it.query_pre_attn_scalar**-0.5)
    if is_third:
        attention = _third(attention, config)
    elif it.attn_logit_softcapping:
        attention = msgspec.structs.replace(attention, softcap=it.attn_logit_softcapping)
    return msgspec.structs.replace(spec, placement="sandwich", attention=attention)


def _third(attention: Attention, config: Mapping[str, object]) -> Attention:
    """Gemma 3: local layers turn faster; a window that looks both ways has half of it on either side."""
    far = rotary(config, attention.head_dim, layer_type="full_attention", theta=GLOBAL_THETA)
    own = config if config.get("rope_parameters") else {"rope_theta": config.get("rope_local_base_freq")}
    near = rotary(own, attention.head_dim, layer_type="sliding_attention", theta=LOCAL_THETA)
    local = attention.local and msgspec.structs.replace(attention.local, rotary=near)
    if local and not attention.is_causal:
        local = msgspec.structs.replace(local, reach=local.reach // 2)
    return msgspec.structs.replace(attention, rotary=far, local=local)
