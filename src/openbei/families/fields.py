"""Reading config.json: what families share to turn its fields into parts of a spec."""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

import msgspec
import numpy as np

from openbei.batch import Vectors
from openbei.errors import CheckpointError
from openbei.rope import frequencies
from openbei.spec import (
    Activation,
    Dense,
    Disentangled,
    Experts,
    LayerNorm,
    ModelSpec,
    Pooling,
    Rotary,
    SequenceHead,
    Step,
)

ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""transformers' names of activations -> ours."""

BIASES: dict[str, tuple[str, ...]] = {
    "attention_bias": ("attention.qkv", "attention.out"),
    "mlp_bias": ("mlp.gate", "mlp.up", "mlp.down"),
}
"""Fields of config.json that say whether linear maps have biases -> those maps."""

POOLINGS: dict[str, Pooling] = {"avg": "mean", "cls": "cls", "last": "last_token"}
"""`pooling` of a bidirectional classifier's config.json -> ours."""

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=1024)]
T = TypeVar("T")


class Mixture(msgspec.Struct, frozen=True):
    """The fields of config.json about experts, as megablocks calls them."""

    num_experts: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    moe_top_k: Size = 1
    moe_every_n_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    moe_normalize_expert_weights: bool | None = None

    def experts(self, num_layers: int) -> Experts | None:
        """Experts in the layers i with i % moe_every_n_layers = 1. Raises CheckpointError."""
        if not self.num_experts or self.moe_every_n_layers < 2:
            return None
        if self.moe_top_k > self.num_experts:
            raise CheckpointError(f"config.json: moe_top_k is {self.moe_top_k}, of {self.num_experts} experts")
        layers = tuple(range(1, num_layers, self.moe_every_n_layers))
        normalizes = bool(self.moe_normalize_expert_weights)
        return Experts(count=self.num_experts, top_k=self.moe_top_k, layers=layers, normalizes=normalizes)


class RelativePositions(msgspec.Struct, frozen=True):
    """The fields of config.json about positions that content meets, as DeBERTa calls them."""

    max_position_embeddings: int = 512
    pos_att_type: str | list[str] | None = None
    position_buckets: int = -1
    max_relative_positions: int = -1

    def bias(self) -> Disentangled:
        """What positions add to scores. Raises CheckpointError."""
        given = self.pos_att_type or []
        names = [name.strip() for name in given.lower().split("|")] if isinstance(given, str) else given
        if unknown := {*names} - {"c2p", "p2c", ""}:
            raise CheckpointError(f"config.json: pos_att_type has {', '.join(sorted(unknown))}; known: c2p, p2c")
        reach = self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings
        span, largest = (self.position_buckets, reach) if self.position_buckets > 0 else (reach, None)
        if largest and not 1 < span < 2 * (largest - 1):
            raise CheckpointError(f"config.json: position_buckets is {span}; it must be 2 to {2 * largest - 3}")
        return Disentangled(span=span, max_distance=largest, terms=tuple(t for t in ("c2p", "p2c") if t in names))


class Classifier(msgspec.Struct, frozen=True):
    """The fields of config.json about the head of a decoder that classifies."""

    pooling: str = "avg"
    temperature: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    pad_token_id: int | None = None


def fields_of(config: Mapping[str, object], kind: type[T]) -> T:
    """The fields of a config.json that a family wants. Raises CheckpointError, naming one that is wrong."""
    try:
        return msgspec.convert(config, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: {error}") from error


def allow_only(config: Mapping[str, object], family: str, only: Mapping[str, object]) -> None:
    """Raise CheckpointError for a field of config.json that has another value than the one that the family has."""
    for key, allowed in only.items():
        if (value := config.get(key)) not in (allowed, None):
            raise CheckpointError(f"config.json: {key} is {value!r}; the family {family} has only {allowed!r}")


def activation(key: str, name: str) -> Activation:
    """The activation that a field of config.json names. Raises CheckpointError."""
    if name not in ACTIVATIONS:
        raise CheckpointError(f"config.json: {key} is {name!r}; known: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def head_size(hidden_size: int, num_heads: int) -> int:
    """Columns of an attention head. Raises CheckpointError where heads are not of one width."""
    if hidden_size % num_heads:
        raise CheckpointError(f"config.json: hidden_size {hidden_size} is no multiple of {num_heads} attention heads")
    return hidden_size // num_heads


def unbiased(config: Mapping[str, object], biases: Mapping[str, tuple[str, ...]] = BIASES) -> tuple[str, ...]:
    """The linear maps that have no bias by a config.json, which has one only where a field says so."""
    return tuple(name for key, names in biases.items() if not config.get(key) for name in names)


def pooled(config: Mapping[str, object], head: SequenceHead) -> SequenceHead:
    """A head with the pooling of a config.json. Raises CheckpointError."""
    it = fields_of(config, Classifier)
    if it.pooling not in POOLINGS:
        raise CheckpointError(f"config.json: pooling is {it.pooling!r}; implemented are: {', '.join(POOLINGS)}")
    return msgspec.structs.replace(head, pooling=POOLINGS[it.pooling])


def divided_logits(config: Mapping[str, object], spec: ModelSpec) -> dict[str, Callable[[Vectors], Vectors]]:
    """The last map of a classifier whose pooling and temperature a config.json names: logits are over temperature."""
    if not (isinstance(spec.head, SequenceHead) and "Bidirectional" in str(config["architectures"])):
        return {}
    temperature = np.float32(fields_of(config, Classifier).temperature)
    return dict.fromkeys(("head.out.weight", "head.out.bias"), lambda numbers: numbers / temperature)


def no_steps(config: Mapping[str, object], kind: str) -> tuple[Step, ...]:
    """Of heads that are a linear map of the last layer's output, or of its pooled rows."""
    return ()


def last_token(config: Mapping[str, object], head: SequenceHead) -> SequenceHead:
    """A head that reads the last token that is no padding, as transformers' GenericForSequenceClassification."""
    padding_id = fields_of(config, Classifier).pad_token_id
    return msgspec.structs.replace(head, pooling="last_token", padding_id=padding_id)


def transform(width: int, bends: Activation, norm_eps: float | None = None) -> tuple[Step, ...]:
    """What many heads begin with: a linear map of the model's own width, and perhaps a norm."""
    dense = Dense(out_features=width, activation=bends)
    return (dense,) if norm_eps is None else (dense, LayerNorm(eps=norm_eps))


def rotary(config: Mapping[str, object], head_dim: int, *, layer_type: str = "", theta: float = 10_000.0) -> Rotary:
    """How heads turn by a config.json, with `theta` where it names none. Raises CheckpointError."""
    turns, factor = frequencies(config, head_dim, layer_type=layer_type, default_theta=theta)
    return Rotary(frequencies=turns, factor=factor)
