"""Gemma 2 (arXiv:2408.00118) and the text model of Gemma 3 (arXiv:2503.19786); modeling_gemma2.py, modeling_gemma3.py.

Gemma with norms before and after attention and MLP, and sliding windows in some layers.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from openbei.families import gemma, llama
from openbei.families.fields import Layers, Size, parse_fields, rotary
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
"""Gemma 3's defaults of rope_theta for global and local layers."""


class Gemma2Config(msgspec.Struct, frozen=True):
    """The fields of config.json that Gemma does not have, with transformers' defaults."""

    num_hidden_layers: Layers
    layer_types: tuple[str, ...] | None = None
    sliding_window_pattern: Size | None = None
    query_pre_attn_scalar: Annotated[float, msgspec.Meta(ge=1e-3)] = 256
    attn_logit_softcapping: Positive | None = 50.0


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    is_gemma3 = parse_fields(config, llama.DecoderConfig).architectures[0].startswith("Gemma3")
    gemma2 = parse_fields(config, Gemma2Config)
    pattern = gemma2.sliding_window_pattern or (6 if is_gemma3 else 2)
    layer_types = gemma2.layer_types or [
        "full_attention" if (i + 1) % pattern == 0 else "sliding_attention" for i in range(gemma2.num_hidden_layers)
    ]
    config = {"num_key_value_heads": 4, "sliding_window": 4096, **config, "layer_types": layer_types}
    spec = gemma.parse(config, head, family="gemma3" if is_gemma3 else "gemma2")
    attention = msgspec.structs.replace(spec.attention, scale=gemma2.query_pre_attn_scalar**-0.5)
    if is_gemma3:
        attention = _gemma3_attention(attention, config)
    elif gemma2.attn_logit_softcapping:
        attention = msgspec.structs.replace(attention, softcap=gemma2.attn_logit_softcapping)
    return msgspec.structs.replace(spec, placement="sandwich", attention=attention)


def _gemma3_attention(attention: Attention, config: Mapping[str, object]) -> Attention:
    """Local layers have their own rope_theta. A bidirectional sliding window is centered on the query."""
    global_rotary = rotary(config, attention.head_dim, layer_type="full_attention", theta=GLOBAL_THETA)
    local_config = config if config.get("rope_parameters") else {"rope_theta": config.get("rope_local_base_freq")}
    local_rotary = rotary(local_config, attention.head_dim, layer_type="sliding_attention", theta=LOCAL_THETA)
    local = attention.local and msgspec.structs.replace(attention.local, rotary=local_rotary)
    if local and not attention.is_causal:
        local = msgspec.structs.replace(local, window=local.window // 2)
    return msgspec.structs.replace(attention, rotary=global_rotary, local=local)
