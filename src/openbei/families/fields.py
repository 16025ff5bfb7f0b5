"""Reading config.json: what families share to turn its fields into parts of a spec."""

from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from openbei.errors import CheckpointError
from openbei.rope import frequencies
from openbei.spec import Activation, Rotary

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

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Layers = Annotated[int, msgspec.Meta(ge=1, le=4096)]
T = TypeVar("T")


def fields_of(config: Mapping[str, object], kind: type[T]) -> T:
    """The fields of a config.json that a family wants. Raises CheckpointError, naming one that is wrong."""
    try:
        return msgspec.convert(config, kind)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: {error}") from error


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


def rotary(config: Mapping[str, object], head_dim: int, *, layer_type: str = "", theta: float = 10_000.0) -> Rotary:
    """How heads turn by a config.json, with `theta` where it names none. Raises CheckpointError."""
    turns, factor = frequencies(config, head_dim, layer_type=layer_type, default_theta=theta)
    return Rotary(frequencies=turns, factor=factor)
