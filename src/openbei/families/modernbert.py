"""ModernBERT (Warner et al., arXiv:2412.13663), as transformers' modeling_modernbert.py names and computes it."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from openbei.errors import CheckpointError
from openbei.families import HeadKind, fields
from openbei.families.fields import Layers, Size, activation, fields_of, head_size, rotary, transform, unbiased
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
    """The fields of config.json that decide what is computed, with the defaults of transformers' ModernBertConfig."""

    vocab_size: Size = 50368
    hidden_size: Size = 768
    intermediate_size: Size = 1152
    num_hidden_layers: Layers = 22
    num_attention_heads: Size = 12
    hidden_activation: str = "gelu"
    max_position_embeddings: Size = 8192
    norm_eps: Annotated[float, msgspec.Meta(gt=0)] = 1e-5
    layer_types: tuple[LayerType, ...] | None = None
    global_attn_every_n_layers: Layers = 3
    global_rope_theta: float = 160_000.0
    local_rope_theta: float | None = 10_000.0
    local_attention: Size = 128
    classifier_pooling: Literal["cls", "mean"] = "cls"
    classifier_activation: str = "gelu"

    @property
    def local_layers(self) -> tuple[int, ...]:
        """Indices of the layers that slide. Raises CheckpointError where layer_types is not one for each layer."""
        count, every = self.num_hidden_layers, self.global_attn_every_n_layers
        if self.layer_types is None:
            return tuple(index for index in range(count) if index % every)
        if len(self.layer_types) != count:
            raise CheckpointError(f"config.json: {len(self.layer_types)} layer_types for {count} layers")
        return tuple(index for index, kind in enumerate(self.layer_types) if kind == "sliding_attention")


def parse(config: Mapping[str, object], head: Head) -> ModelSpec:
    """The spec of a config.json. Raises CheckpointError."""
    bert = fields_of(config, ModernBertConfig)
    num_heads, head_dim = bert.num_attention_heads, head_size(bert.hidden_size, bert.num_attention_heads)
    fields.allow_only(config, "modernbert", {"head_dim": head_dim, "sliding_window": bert.local_attention // 2})
    far = rotary(config, head_dim, layer_type="full_attention", theta=bert.global_rope_theta)
    theta = bert.local_rope_theta or bert.global_rope_theta
    near = rotary(config, head_dim, layer_type="sliding_attention", theta=theta)
    local = LocalLayers(layers=bert.local_layers, reach=bert.local_attention // 2, rotary=near)
    head = msgspec.structs.replace(head, pooling=bert.classifier_pooling) if isinstance(head, SequenceHead) else head
    biases = BIASES if hasattr(head, "num_labels") else {**BIASES, "decoder_bias": ("head.out",)}
    inner = activation("hidden_activation", bert.hidden_activation)
    return ModelSpec(
        family="modernbert", vocab_size=bert.vocab_size, type_vocab_size=0, hidden_size=bert.hidden_size,
        num_layers=bert.num_hidden_layers, positions=NoPositions(max_positions=bert.max_position_embeddings),
        attention=Attention(num_heads=num_heads, num_kv_heads=num_heads, head_dim=head_dim, rotary=far, local=local),
        mlp=GatedMLP(intermediate_size=bert.intermediate_size, activation=inner),
        norm=LayerNorm(eps=bert.norm_eps), head=head, placement="pre", skips_first_norm=True,
        unbiased=unbiased({"decoder_bias": True, **config}, biases),
    )  # fmt: skip


def steps(config: Mapping[str, object], kind: HeadKind) -> tuple[Step, ...]:
    """ModernBertPredictionHead, the same before every last map."""
    bert = fields_of(config, ModernBertConfig)
    bends = activation("classifier_activation", bert.classifier_activation)
    return () if kind == "embedding" else transform(bert.hidden_size, bends, bert.norm_eps)
