"""ModernBERT (Warner et al., arXiv:2412.13663); transformers' modeling_modernbert.py."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from openbei.families import HeadKind, fields
from openbei.families.fields import (
    Epsilon,
    Layers,
    Size,
    activation,
    check_fixed,
    check_layer_types,
    checked_head_dim,
    dense_steps,
    maps_without_bias,
    parse_fields,
    rotary,
)
from openbei.spec import Attention, GatedMLP, Head, LayerNorm, LocalLayers, ModelSpec, NoPositions, SequenceHead, Step

PREFIX = "model."
OLD_SUFFIXES = dict[str, str]()
WEIGHTS = {
    "embeddings.tok_embeddings.weight": "embeddings.token",
    "embeddings.norm": "embeddings.norm",
    "layers.{}.attn_norm": "layers.{}.attention.norm",
    "layers.{}.attn.Wqkv": "layers.{}.attention.qkv",
    "layers.{}.attn.Wo": "layers.{}.attention.out",
    "layers.{}.mlp_norm": "layers.{}.mlp.norm",
    "layers.{}.mlp.Wi": ("layers.{}.mlp.gate", "layers.{}.mlp.up"),
    "layers.{}.mlp.Wo": "layers.{}.mlp.down",
    "final_norm": "final.norm",
}
_DENSE = {"head.dense": "head.0.dense", "head.norm": "head.1.norm"}
HEADS: dict[HeadKind, dict[str, str]] = {
    "embedding": {},
    "sequence_labels": {**_DENSE, "classifier": "head.out"},
    "token_labels": {**_DENSE, "classifier": "head.out"},
    "term_weights": {**_DENSE, "decoder": "head.out"},
}
TIED = {"decoder.weight": "embeddings.tok_embeddings.weight"}
DROPPED = tuple(HEADS["term_weights"])
BIASES = {
    **fields.BIASES,
    "norm_bias": ("embeddings.norm", "attention.norm", "mlp.norm", "final.norm", "head.1.norm"),
    "classifier_bias": ("head.0.dense",),
}

LayerType = Literal["full_attention", "sliding_attention"]


class ModernBertConfig(msgspec.Struct, frozen=True):
    """The fields of config.json that affect inference, with the defaults of transformers' ModernBertConfig."""

    vocab_size: Size = 50368
    hidden_size: Size = 768
    intermediate_size: Size = 1152
    num_hidden_layers: Layers = 22
    num_attention_heads: Size = 12
    hidden_activation: str = "gelu"
    max_position_embeddings: Size = 8192
    norm_eps: Epsilon = 1e-5
    layer_types: tuple[LayerType, ...] | None = None
    global_attn_every_n_layers: Layers = 3
    global_rope_theta: float = 160_000.0
    local_rope_theta: float | None = 10_000.0
    local_attention: Size = 128
    classifier_pooling: Literal["cls", "mean"] = "cls"
    classifier_activation: str = "gelu"

    @property
    def local_layers(self) -> tuple[int, ...]:
        """Indices of the layers with sliding attention. Raises CheckpointError if layer_types has a wrong length."""
        if self.layer_types is None:
            return tuple(i for i in range(self.num_hidden_layers) if i % self.global_attn_every_n_layers)
        check_layer_types(self.layer_types, self.num_hidden_layers)
        return tuple(i for i, kind in enumerate(self.layer_types) if kind == "sliding_attention")


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """Convert a config.json. Raises CheckpointError."""
    bert = parse_fields(config, ModernBertConfig)
    if isinstance(head, SequenceHead):
        head = msgspec.structs.replace(head, pooling=bert.classifier_pooling)
    biases = BIASES if hasattr(head, "num_labels") else {**BIASES, "decoder_bias": ("head.out",)}
    return ModelSpec(
        family="modernbert",
        vocab_size=bert.vocab_size,
        type_vocab_size=0,
        hidden_size=bert.hidden_size,
        num_layers=bert.num_hidden_layers,
        positions=NoPositions(max_positions=bert.max_position_embeddings),
        attention=_attention(config, bert),
        mlp=GatedMLP(
            intermediate_size=bert.intermediate_size,
            activation=activation("hidden_activation", bert.hidden_activation),
        ),
        norm=LayerNorm(eps=bert.norm_eps),
        head=head,
        placement="pre",
        first_attention_has_no_norm=True,
        linears_without_bias=maps_without_bias({"decoder_bias": True, **config}, biases),
    )


def _attention(config: Mapping[str, object], bert: ModernBertConfig) -> Attention:
    num_heads, head_dim = bert.num_attention_heads, checked_head_dim(bert.hidden_size, bert.num_attention_heads)
    window = bert.local_attention // 2
    check_fixed(config, "modernbert", {"head_dim": head_dim, "sliding_window": window})
    local_theta = bert.local_rope_theta or bert.global_rope_theta
    local_rotary = rotary(config, head_dim, layer_type="sliding_attention", theta=local_theta)
    return Attention(
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=head_dim,
        rotary=rotary(config, head_dim, layer_type="full_attention", theta=bert.global_rope_theta),
        local=LocalLayers(layers=bert.local_layers, window=window, rotary=local_rotary),
    )


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ModernBertPredictionHead for everything but embeddings."""
    bert = parse_fields(config, ModernBertConfig)
    head_activation = activation("classifier_activation", bert.classifier_activation)
    return () if kind == "embedding" else dense_steps(bert.hidden_size, head_activation, bert.norm_eps)
