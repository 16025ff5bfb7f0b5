"""Llama (arXiv:2302.13971), and what has its shape: Mistral, Qwen2, Qwen3. Causal, unless they say bidirectional."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, fields
from openbei.families.fields import BIASES, Layers, Size, activation, fields_of, head_size, pooled, rotary, unbiased
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
WEIGHTS = {f"layers.{{}}.{theirs}": f"layers.{{}}.{ours}" for theirs, ours in LAYER.items()}
WEIGHTS |= {"embed_tokens.weight": "embeddings.token", "norm": "final.norm"}
LABELS = {"score": "head.out"}
HEADS: dict[HeadKind, dict[str, str]] = {"embedding": {}, "sequence_labels": LABELS, "token_labels": LABELS}
steps, adjusted = fields.no_steps, fields.divided_logits
DROPPED = ("lm_head", "rotary_emb.inv_freq", "layers.{}.self_attn.rotary_emb.inv_freq")

_QWEN: dict[str, object] = {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 28}
DEFAULTS: dict[str, dict[str, object]] = {
    "llama": {}, "mistral": {"num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": _QWEN, "qwen3": {**_QWEN, "head_dim": 128},
}  # fmt: skip
"""Family, lower-case beginning of its architectures' names -> what a config may leave out and Llama has not."""

UNBIASED = {"qwen2": ("attention.out", *BIASES["mlp_bias"]), "mistral": unbiased({})}
"""Linear maps without biases in families that have no field for it."""


class Decoder(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of config.json that decide what is computed."""

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
    rms_norm_eps: Annotated[float, msgspec.Meta(gt=0)] = 1e-6
    sliding_window: Size | None = None
    use_sliding_window: bool = True
    max_window_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    layer_types: tuple[Literal["full_attention", "sliding_attention"], ...] | None = None
    is_causal: bool | None = None
    use_bidirectional_attention: bool | None = None

    def local(self, is_causal: bool) -> LocalLayers | None:
        """The layers with a sliding window, which both ways includes the token at its end."""
        layers = tuple(range(self.max_window_layers, self.num_hidden_layers))
        if self.layer_types:
            layers = tuple(i for i, kind in enumerate(self.layer_types) if kind == "sliding_attention")
        width = self.sliding_window if self.use_sliding_window else None
        return LocalLayers(layers=layers, reach=width - is_causal) if layers and width else None


def parse(config: Mapping[str, object], head: Head, *, family: str = "") -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    name = fields_of(config, Decoder).architectures[0]
    family = family or next(known for known in DEFAULTS if name.lower().startswith(known))
    it = fields_of({**DEFAULTS.get(family, {}), **config}, Decoder)
    num_heads, num_kv_heads = it.num_attention_heads, it.num_key_value_heads or it.num_attention_heads
    head_dim = it.head_dim or head_size(it.hidden_size, num_heads)
    if num_heads % num_kv_heads:
        raise CheckpointError(f"config.json: {num_heads} attention heads are no multiple of {num_kv_heads} for keys")
    if len(it.layer_types or range(it.num_hidden_layers)) != it.num_hidden_layers:
        raise CheckpointError(f"config.json: layer_types is {it.layer_types}, for {it.num_hidden_layers} layers")
    if isinstance(head, SequenceHead):
        head = pooled(config, head) if "Bidirectional" in name else fields.last_token(config, head)
    is_causal = not ("Bidirectional" in name or it.is_causal is False or it.use_bidirectional_attention)
    norm = RMSNorm(eps=it.rms_norm_eps)
    return ModelSpec(
        family=family, vocab_size=it.vocab_size, type_vocab_size=0, hidden_size=it.hidden_size,
        num_layers=it.num_hidden_layers, positions=NoPositions(max_positions=it.max_position_embeddings),
        attention=Attention(num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, is_causal=is_causal,
                            rotary=rotary(config, head_dim, layer_type="full_attention"), local=it.local(is_causal),
                            norm=norm if family in ("qwen3", "gemma3") else None),
        mlp=GatedMLP(intermediate_size=it.intermediate_size, activation=activation("hidden_act", it.hidden_act)),
        norm=norm, head=head, placement="pre", normalizes_embeddings=False,
        unbiased=UNBIASED.get(family, unbiased(config)) + ("head.out",) * isinstance(head, SequenceHead),
    )  # fmt: skip
