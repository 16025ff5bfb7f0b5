"""ModelSpec: a transformer as data, frozen. Families write one, backends interpret it; no arrays here.

Each axis is a tagged union or a literal with the rows that every backend implements. A new architecture adds a row
to an axis, and the code for it in each backend, not a second transformer.
"""

from typing import Literal

import msgspec

Activation = Literal["gelu", "gelu_tanh", "relu", "silu", "tanh"]
"""gelu is x·Φ(x) (erf); gelu_tanh its tanh approximation (Hendrycks & Gimpel, arXiv:1606.08415)."""

Pooling = Literal["cls", "mean", "last_token"]
"""How token vectors become one: the first token's, the mean of all, the last token's."""

Task = Literal["embedding", "reranker", "classifier", "token_classifier", "sparse"]
"""What a model is for. A reranker is a classifier of pairs with one label."""

DType = Literal["bfloat16", "float32"]
"""What weights are stored in and what matrix products read; accumulation is always float32."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every part: immutable, compared by value, unknown fields refused."""


class LayerNorm(Part, frozen=True, tag="layer_norm"):
    """(x - mean) / sqrt(var + eps) · weight + bias."""

    eps: float


class LearnedPositions(Part, frozen=True, tag="learned"):
    """A table with a vector for each position, added to the token's; its row `first` is that of the first token."""

    max_positions: int
    first: int = 0

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return self.first + self.max_positions


class Attention(Part, frozen=True, tag="full"):
    """Softmax attention, every token to every token of its sequence; q, k, v and output have biases."""

    num_heads: int
    head_dim: int


class MLP(Part, frozen=True, tag="plain"):
    """down(activation(up(x))), both with biases."""

    intermediate_size: int
    activation: Activation


class Dense(Part, frozen=True, tag="dense"):
    """activation(x · Wᵀ + bias) of the model's own width, before a head's last linear map; then perhaps a norm."""

    activation: Activation
    norm: LayerNorm | None = None


class EmbeddingHead(Part, frozen=True, tag="embedding"):
    """A vector for each sequence: its token vectors, pooled."""

    pooling: Pooling


class SequenceHead(Part, frozen=True, tag="sequence_labels"):
    """Logits for each sequence: out(dense(pooled)). With one label it is a score, as of a reranker."""

    num_labels: int
    pooling: Pooling = "cls"
    dense: Dense | None = None


class TokenHead(Part, frozen=True, tag="token_labels"):
    """Logits for each token: out(x)."""

    num_labels: int


class TermHead(Part, frozen=True, tag="term_weights"):
    """A weight for each word of the vocabulary: max over tokens of log(1 + relu(out(dense(x)))).

    SPLADE (Formal et al., arXiv:2109.10086).
    """

    dense: Dense


Head = EmbeddingHead | SequenceHead | TokenHead | TermHead


class ModelSpec(Part, frozen=True, tag="encoder"):
    """A stack of identical post-norm transformer layers over summed embeddings, and a head.

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
    head: Head

    @property
    def num_parameters(self) -> int:
        """Weights and biases; a vocabulary that is read and written with the same weights counts twice."""
        hidden, inner, attended = self.hidden_size, self.mlp.intermediate_size, self.attended_size
        tables = (self.vocab_size + self.type_vocab_size + self.positions.num_rows + 2) * hidden
        attention = 3 * (hidden + 1) * attended + (attended + 1) * hidden
        mlp = (hidden + 1) * inner + (inner + 1) * hidden
        head = sum((inputs + 1) * outputs for outputs, inputs in head_shapes(self).values())
        norm = 2 * hidden if self.dense and self.dense.norm else 0
        return tables + self.num_layers * (attention + mlp + 4 * hidden) + head + norm

    @property
    def attended_size(self) -> int:
        """Width of queries, keys and values: heads side by side."""
        return self.attention.num_heads * self.attention.head_dim

    @property
    def dense(self) -> Dense | None:
        """What the head does before its last linear map."""
        return getattr(self.head, "dense", None)

    @property
    def task(self) -> Task:
        """What the head makes the model one for."""
        match self.head:
            case EmbeddingHead():
                return "embedding"
            case TermHead():
                return "sparse"
            case TokenHead():
                return "token_classifier"
            case SequenceHead(num_labels=num_labels):
                return "reranker" if num_labels == 1 else "classifier"

    @property
    def output_width(self) -> int:
        """Columns of what the head makes: dimensions, labels, or words of the vocabulary."""
        match self.head:
            case EmbeddingHead():
                return self.hidden_size
            case TermHead():
                return self.vocab_size
            case SequenceHead(num_labels=num_labels) | TokenHead(num_labels=num_labels):
                return num_labels


def linear_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear maps of one layer, by engine name."""
    hidden, inner, attended = spec.hidden_size, spec.mlp.intermediate_size, spec.attended_size
    return {
        "attention.qkv": (3 * attended, hidden),
        "attention.out": (hidden, attended),
        "mlp.up": (inner, hidden),
        "mlp.down": (hidden, inner),
    }


def head_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """(out_features, in_features) of the linear maps of the head, by engine name."""
    hidden = spec.hidden_size
    shapes = {"head.dense": (hidden, hidden)} if spec.dense else {}
    return shapes if isinstance(spec.head, EmbeddingHead) else shapes | {"head.out": (spec.output_width, hidden)}
