"""Llama (arXiv:2302.13971), Mistral, Qwen2 and Qwen3, and their bidirectional variants."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, fields
from openbei.families.fields import (
    BIASES,
    Epsilon,
    Layers,
    Size,
    activation,
    check_layer_types,
    checked_head_dim,
    maps_without_bias,
    parse_fields,
    rotary,
    with_last_token_pooling,
    with_pooling,
)
from openbei.spec import Attention, GatedMLP, Head, LocalLayers, ModelSpec, NoPositions, RMSNorm, SequenceHead

PREFIX, TIED, OLD_SUFFIXES = "model.", dict[str, str](), dict[str, str]()
LAYER = {
    "input_layernorm": "attention.norm",
    **{f"self_attn.{part}_proj": "attention.qkv" for part in "qkv"},
    **{f"self_attn.{part}_norm": f"attention.{part}_norm" for part in "qk"},
    "self_attn.o_proj": "attention.out",
    "post_attention_layernorm": "mlp.norm",
    "mlp.gate_proj": "mlp.gate",
    "mlp.up_proj": "mlp.up",
    "mlp.down_proj": "mlp.down",
}
WEIGHTS = {f"layers.{{}}.{name}": f"layers.{{}}.{engine_name}" for name, engine_name in LAYER.items()}
WEIGHTS |= {"embed_tokens.weight": "embeddings.token", "norm": "final.norm"}
LABELS = {"score": "head.out"}
HEADS: dict[HeadKind, dict[str, str]] = {"embedding": {}, "sequence_labels": LABELS, "token_labels": LABELS}
steps, adjusted = fields.no_steps, fields.divided_logits
DROPPED = ("lm_head", "rotary_emb.inv_freq", "layers.{}.self_attn.rotary_emb.inv_freq")

_QWEN: dict[str, object] = {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28}
DEFAULTS: dict[str, dict[str, object]] = {
    "llama": {},
    "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": _QWEN,
    "qwen3": {**_QWEN, "head_dim": 128},
}
"""Family, which is also the lower-case architecture prefix -> defaults that Llama does not have."""

WITHOUT_BIAS = {"qwen2": ("attention.out", *BIASES["mlp_bias"]), "mistral": maps_without_bias({})}
"""Linear layers without biases, in families that have no config field for it."""


class DecoderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of config.json that affect inference."""

    architectures: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    vocab_size: Size
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Layers
    num_attention_heads: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: str = "silu"
    max_position_embeddings: Size
    rms_norm_eps: Epsilon = 1e-6
    sliding_window: Size | None = None
    use_sliding_window: bool = True
    max_window_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    layer_types: tuple[Literal["full_attention", "sliding_attention"], ...] | None = None
    is_causal: bool | None = None
    use_bidirectional_attention: bool | None = None

    def local(self, is_causal: bool) -> LocalLayers | None:
        """The layers with a sliding window: distances below sliding_window if causal, else up to and including it."""
        layers = tuple(range(self.max_window_layers, self.num_hidden_layers))
        if self.layer_types:
            layers = tuple(i for i, kind in enumerate(self.layer_types) if kind == "sliding_attention")
        window = self.sliding_window if self.use_sliding_window else None
        return LocalLayers(layers=layers, window=window - is_causal) if layers and window else None


def parse(config: Mapping[str, object], head: Head, *, family: str = "") -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    architecture = parse_fields(config, DecoderConfig).architectures[0]
    family = family or next(prefix for prefix in DEFAULTS if architecture.lower().startswith(prefix))
    decoder = parse_fields({**DEFAULTS.get(family, {}), **config}, DecoderConfig)
    if decoder.layer_types is not None:
        check_layer_types(decoder.layer_types, decoder.num_hidden_layers)
    is_bidirectional = "Bidirectional" in architecture
    without_bias = WITHOUT_BIAS.get(family, maps_without_bias(config))
    if isinstance(head, SequenceHead):
        head = (with_pooling if is_bidirectional else with_last_token_pooling)(config, head)
        without_bias = (*without_bias, "head.out")
    is_causal = not (is_bidirectional or decoder.is_causal is False or decoder.use_bidirectional_attention)
    norm = RMSNorm(eps=decoder.rms_norm_eps)
    return ModelSpec(
        family=family,
        vocab_size=decoder.vocab_size,
        type_vocab_size=0,
        hidden_size=decoder.hidden_size,
        num_layers=decoder.num_hidden_layers,
        positions=NoPositions(max_positions=decoder.max_position_embeddings),
        attention=_attention(config, decoder, is_causal, norm if family in ("qwen3", "gemma3") else None),
        mlp=GatedMLP(
            intermediate_size=decoder.intermediate_size, activation=activation("hidden_act", decoder.hidden_act)
        ),
        norm=norm,
        head=head,
        placement="pre",
        normalizes_embeddings=False,
        linears_without_bias=without_bias,
    )


def _attention(
    config: Mapping[str, object], decoder: DecoderConfig, is_causal: bool, qk_norm: RMSNorm | None
) -> Attention:
    num_heads, num_kv_heads = decoder.num_attention_heads, decoder.num_key_value_heads or decoder.num_attention_heads
    if num_heads % num_kv_heads:
        raise CheckpointError(
            f"config.json: num_attention_heads is {num_heads}; it must be a multiple of num_key_value_heads, "
            f"{num_kv_heads}"
        )
    head_dim = decoder.head_dim or checked_head_dim(decoder.hidden_size, num_heads)
    return Attention(
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        is_causal=is_causal,
        rotary=rotary(config, head_dim, layer_type="full_attention"),
        norm=qk_norm,
        local=decoder.local(is_causal),
    )
