"""ModelSpec: a transformer as data, frozen. Families write one, backends interpret it; no arrays here.

Each axis is a tagged union or a literal with the rows that every backend implements. A new architecture adds a row
to an axis, and the code for it in each backend, not a second transformer.
"""

from typing import Literal

import msgspec

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
"""gelu is x·Φ(x) (erf); gelu_tanh its tanh approximation (Hendrycks & Gimpel, arXiv:1606.08415)."""

Pooling = Literal["cls", "mean", "last_token"]
"""How token vectors become one: the first token's, the mean of all, the last token's."""

DType = Literal["bfloat16", "float32"]
"""What weights are stored in and what matrix products read; accumulation is always float32."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every part: immutable, compared by value, unknown fields refused."""


class LayerNorm(Part, frozen=True, tag="layer_norm"):
    """(x - mean) / sqrt(var + eps) · weight + bias."""

    eps: float


class LearnedPositions(Part, frozen=True, tag="learned"):
    """A table with a vector for each position, added to the token's."""

    max_positions: int


class Attention(Part, frozen=True, tag="full"):
    """Softmax attention, every token to every token of its sequence; q, k, v and output have biases."""

    num_heads: int
    head_dim: int


class MLP(Part, frozen=True, tag="plain"):
    """down(activation(up(x))), both with biases."""

    intermediate_size: int
    activation: Activation


class ModelSpec(Part, frozen=True, tag="encoder"):
    """A stack of identical post-norm transformer layers over summed embeddings.

    A layer is `x = norm(x + attention(x)); x = norm(x + mlp(x))` (Vaswani et al., arXiv:1706.03762).
    """

    family: str
    vocab_size: int
    type_vocab_size: int
    hidden_size: int
    num_layers: int
    positions: LearnedPositions
    attention: Attention
    mlp: MLP
    norm: LayerNorm

    @property
    def num_parameters(self) -> int:
        """Weights and biases of embeddings and layers."""
        hidden, inner, attended = self.hidden_size, self.mlp.intermediate_size, self.attended_size
        tables = (self.vocab_size + self.type_vocab_size + self.positions.max_positions + 2) * hidden
        attention = 3 * (hidden + 1) * attended + (attended + 1) * hidden
        mlp = (hidden + 1) * inner + (inner + 1) * hidden
        return tables + self.num_layers * (attention + mlp + 4 * hidden)

    @property
    def attended_size(self) -> int:
        """Width of queries, keys and values: heads side by side."""
        return self.attention.num_heads * self.attention.head_dim


def linear_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear maps of one layer, by engine name."""
    hidden, inner, attended = spec.hidden_size, spec.mlp.intermediate_size, spec.attended_size
    return {
        "attention.qkv": (3 * attended, hidden),
        "attention.out": (hidden, attended),
        "mlp.up": (inner, hidden),
        "mlp.down": (hidden, inner),
    }
