"""Parsing of config.json fields that several families share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, TypeVar

import msgspec
import numpy as np

from openbei.attention_bias import Disentangled
from openbei.batch import Vectors
from openbei.errors import CheckpointError
from openbei.rope import frequencies
from openbei.spec import Activation, Dense, Experts, LayerNorm, ModelSpec, Pooling, Rotary, SequenceHead, Step

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Activation names in transformers -> in a spec."""

BIASES: dict[str, tuple[str, ...]] = {
    "attention_bias": ("attention.qkv", "attention.out"),
    "mlp_bias": ("mlp.gate", "mlp.up", "mlp.down"),
}
"""Fields of config.json that enable biases -> the linear layers they apply to."""

POOLINGS: dict[str, Pooling] = {"avg": "mean", "cls": "cls", "last": "last_token"}
"""`pooling` in the config.json of a bidirectional classifier -> pooling in a spec."""

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Epsilon = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
"""Of a norm. The limit is that of engines."""
T = TypeVar("T")


class ExpertFields(msgspec.Struct, frozen=True):
    """The mixture-of-experts fields of config.json, with megablocks' names."""

    num_experts: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    moe_top_k: Size = 1
    moe_every_n_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    moe_normalize_expert_weights: bool | None = None

    def experts(self, num_layers: int) -> Experts | None:
        """Experts for the layers i with i % moe_every_n_layers == 1. Raises CheckpointError."""
        if not self.num_experts or self.moe_every_n_layers < 2:
            return None
        if self.moe_top_k > self.num_experts:
            raise CheckpointError(f"config.json: moe_top_k is {self.moe_top_k}; it must be at most {self.num_experts}")
        layers = tuple(range(1, num_layers, self.moe_every_n_layers))
        normalizes = bool(self.moe_normalize_expert_weights)
        return Experts(count=self.num_experts, top_k=self.moe_top_k, layers=layers, normalizes=normalizes)


class RelativePositionFields(msgspec.Struct, frozen=True):
    """The fields of config.json for disentangled attention, with DeBERTa's names."""

    max_position_embeddings: int = 512
    pos_att_type: str | list[str] | None = None
    position_buckets: int = -1
    max_relative_positions: int = -1

    def bias(self) -> Disentangled:
        """The position terms of attention scores. Raises CheckpointError."""
        types = self.pos_att_type or []
        if isinstance(types, str):
            types = [name.strip() for name in types.lower().split("|")]
        if unknown := {*types} - {"c2p", "p2c", ""}:
            raise CheckpointError(f"config.json: pos_att_type has {', '.join(sorted(unknown))}; supported: c2p, p2c")
        distance = self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings
        span, max_distance = (self.position_buckets, distance) if self.position_buckets > 0 else (distance, None)
        if max_distance and not 1 < span < 2 * (max_distance - 1):
            raise CheckpointError(f"config.json: position_buckets is {span}; it must be 2 to {2 * max_distance - 3}")
        terms = tuple(term for term in ("c2p", "p2c") if term in types)
        return Disentangled(span=span, max_distance=max_distance, terms=terms)


class ClassifierFields(msgspec.Struct, frozen=True):
    """The fields of config.json for the classification head of a decoder."""

    pooling: str = "avg"
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    pad_token_id: int | None = None


def parse_fields(config: Mapping[str, object], kind: type[T]) -> T:
    """Parse a config.json as `kind`. Raises CheckpointError, naming the invalid field."""
    try:
        return msgspec.convert(config, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: {error}") from error


def check_fixed(config: Mapping[str, object], family: str, fixed: Mapping[str, object]) -> None:
    """Raise CheckpointError if a field of config.json differs from the only value that the family supports."""
    for key, supported in fixed.items():
        if (value := config.get(key)) not in (supported, None):
            raise CheckpointError(f"config.json: {key} is {value!r}; the family {family} supports only {supported!r}")


def activation(key: str, name: str) -> Activation:
    """The activation `name`, the value of the field `key`. Raises CheckpointError."""
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: {key} is {name!r}; supported: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def checked_head_dim(hidden_size: int, num_heads: int) -> int:
    """hidden_size / num_heads. Raises CheckpointError if that is not an integer."""
    if hidden_size % num_heads:
        raise CheckpointError(
            f"config.json: hidden_size is {hidden_size}; it must be a multiple of num_attention_heads, {num_heads}"
        )
    return hidden_size // num_heads


def check_layer_types(layer_types: Sequence[str], num_layers: int) -> None:
    """Raise CheckpointError unless there is one layer type for each layer."""
    if len(layer_types) != num_layers:
        raise CheckpointError(f"config.json: layer_types has {len(layer_types)} entries, for {num_layers} layers")


def maps_without_bias(config: Mapping[str, object], biases: Mapping[str, tuple[str, ...]] = BIASES) -> tuple[str, ...]:
    """The linear layers without a bias: all in `biases` whose field is not set in config.json."""
    return tuple(name for key, names in biases.items() if not config.get(key) for name in names)


def with_pooling(config: Mapping[str, object], head: SequenceHead) -> SequenceHead:
    """The head with the pooling from config.json. Raises CheckpointError."""
    fields = parse_fields(config, ClassifierFields)
    if fields.pooling not in POOLINGS:
        raise CheckpointError(f"config.json: pooling is {fields.pooling!r}; supported: {', '.join(POOLINGS)}")
    return msgspec.structs.replace(head, pooling=POOLINGS[fields.pooling])


def divided_logits(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Callable[[Vectors], Vectors]]:
    """Division of the last linear layer of a bidirectional classifier by the temperature in config.json."""
    if not (isinstance(spec.head, SequenceHead) and "Bidirectional" in str(config["architectures"])):
        return {}
    temperature = np.float32(parse_fields(config, ClassifierFields).temperature)
    return dict.fromkeys(("head.out.weight", "head.out.bias"), lambda values: values / temperature)


def no_steps(config: Mapping[str, object], kind: str) -> tuple[Step, ...]:
    """None: heads are a single linear layer, or have no layers."""
    return ()


def with_last_token_pooling(config: Mapping[str, object], head: SequenceHead) -> SequenceHead:
    """The head with pooling of the last non-padding token, as in transformers' GenericForSequenceClassification."""
    padding_id = parse_fields(config, ClassifierFields).pad_token_id
    return msgspec.structs.replace(head, pooling="last_token", padding_id=padding_id)


def dense_steps(width: int, activation: Activation, norm_eps: float | None = None) -> tuple[Step, ...]:
    """A Dense layer [width, width], followed by a LayerNorm if there is a `norm_eps`."""
    dense = Dense(out_features=width, activation=activation)
    return (dense,) if norm_eps is None else (dense, LayerNorm(eps=norm_eps))


def rotary(config: Mapping[str, object], head_dim: int, *, layer_type: str = "", theta: float = 10_000.0) -> Rotary:
    """Rotary embeddings from a config.json; `theta` is the default of rope_theta. Raises CheckpointError."""
    per_position, factor = frequencies(config, head_dim, layer_type=layer_type, default_theta=theta)
    return Rotary(frequencies=per_position, factor=factor)
