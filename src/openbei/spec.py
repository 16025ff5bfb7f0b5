"""ModelSpec: a transformer as data, frozen. Families write one, backends interpret it; no arrays here.

Each axis is a tagged union or a literal with the rows that every backend implements. A new architecture adds a row
to an axis, and the code for it in each backend, not a second transformer.
"""

from typing import ClassVar, Literal

import msgspec

Activation = Literal["gelu", "gelu_tanh", "relu", "sigmoid", "silu", "tanh"]
"""gelu is x·Φ(x) (erf); gelu_tanh its tanh approximation (Hendrycks & Gimpel, arXiv:1606.08415)."""

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last_token"]
"""How token vectors become one: the first; the largest of each column; the mean; the sum over the square root of their
number; the mean weighted by a token's place, counted from 1 (Muennighoff, arXiv:2202.08904); the last."""

Task = Literal["embedding", "reranker", "classifier", "token_classifier", "sparse"]
"""What a model is for. A reranker is a classifier of pairs with one label."""

DType = Literal["bfloat16", "float32"]
"""Number formats that a config can choose for weights; accumulation is always float32."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of every part: immutable, compared by value, unknown fields refused."""


class LayerNorm(Part, frozen=True, tag="layer_norm"):
    """(x - mean) / sqrt(var + eps) · weight + bias."""

    eps: float


class RMSNorm(Part, frozen=True, tag="rms_norm"):
    """x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich, arXiv:1910.07467)."""

    eps: float


Norm = LayerNorm | RMSNorm


class LearnedPositions(Part, frozen=True, tag="learned"):
    """A table with a vector for each position, added to the token's; its row `first` is that of the first token.

    A token whose id is `padding_id` gets the row before `first`, and those after it are counted without it.
    """

    max_positions: int
    first: int = 0
    padding_id: int | None = None

    @property
    def num_rows(self) -> int:
        """Rows of the table."""
        return self.first + self.max_positions


class NoPositions(Part, frozen=True, tag="none"):
    """Embeddings know no positions: attention does."""

    max_positions: int
    num_rows: int = 0


Positions = LearnedPositions | NoPositions


class Rotary(Part, frozen=True, tag="rotary"):
    """Queries and keys turn with their position (Su et al., arXiv:2104.09864), first half of `dim` against the second.

    `frequencies` are radians by position, dim / 2 of them; `factor` multiplies cosines and sines.
    """

    frequencies: tuple[float, ...]
    factor: float = 1.0

    @property
    def dim(self) -> int:
        """Columns of a head that turn; those after them stay."""
        return 2 * len(self.frequencies)


class DistanceBias(Part, frozen=True, tag="distance_bias"):
    """What is added to a score for the distance of the key from the query: -slope · |distance|, a slope for each head.

    ALiBi (Press et al., arXiv:2108.12409).
    """

    slopes: tuple[float, ...]


class BucketBias(Part, frozen=True, tag="bucket_bias"):
    """The same, learned: a number for each head and each bucket of distances (Raffel et al., arXiv:1910.10683).

    Half of the buckets are for keys after the query; a quarter of all are single distances, the others grow up to
    `max_distance`.
    """

    num_buckets: int
    max_distance: int


class Disentangled(Part, frozen=True, tag="disentangled"):
    """What content adds to a score for the distance, before the scale (He et al., arXiv:2006.03654).

    With r the row of the distance of query i from key j, c2p adds query i · keys[r], and p2c key j · queries[r], of
    tables that a layer has for each head. Rows are distances from -span to span - 1, and those beyond count for the
    ends. With a `max_distance` only the nearer half are single distances, and the others grow up to it.
    """

    span: int
    terms: tuple[Literal["c2p", "p2c"], ...]
    max_distance: int | None = None

    @property
    def num_rows(self) -> int:
        """Rows of a head's table, padded to a multiple of 32: the first 2 · span are distances."""
        return -(-2 * self.span // 32) * 32


class LocalLayers(Part, frozen=True, tag="local"):
    """Layers whose tokens attend to those at most `reach` away only, and perhaps turn at other frequencies."""

    layers: tuple[int, ...]
    reach: int
    rotary: Rotary | None = None


class Attention(Part, frozen=True, tag="full"):
    """Softmax attention within a sequence; causal if tokens see only those before them and themselves.

    Scores are multiplied by `scale` (None: head_dim^-½), then bent by softcap · tanh(score / softcap) unless it is 0.
    Fewer key and value heads than query heads are shared by neighbours. `norm` is that of queries and of keys before
    they turn: of each head, or of all heads side by side if `norms_all_heads`.
    """

    num_heads: int
    head_dim: int
    num_kv_heads: int
    is_causal: bool = False
    scale: float | None = None
    softcap: float = 0.0
    rotary: Rotary | None = None
    norm: Norm | None = None
    norms_all_heads: bool = False
    bias: DistanceBias | BucketBias | Disentangled | None = None
    local: LocalLayers | None = None


class MLP(Part, frozen=True, tag="plain"):
    """down(activation(up(x)))."""

    intermediate_size: int
    activation: Activation


class GatedMLP(Part, frozen=True, tag="gated"):
    """down(activation(gate(x)) · up(x)) (Shazeer, arXiv:2002.05202)."""

    intermediate_size: int
    activation: Activation


class Experts(Part, frozen=True, tag="experts"):
    """In `layers` there are `count` MLPs, and a token's output is a weighted sum of `top_k` of them, plus one bias.

    The weights are the largest of softmax(router(x)), divided by their sum if `normalizes` (Shazeer et al.,
    arXiv:1701.06538).
    """

    count: int
    top_k: int
    layers: tuple[int, ...]
    normalizes: bool = False


class Convolution(Part, frozen=True, tag="convolution"):
    """activation(map(x)), x the rows of `width` tokens side by side, a token's own in the middle.

    What lies beyond its sequence's ends is zero; `width` is odd.
    """

    width: int
    activation: Activation


class Dense(Part, frozen=True, tag="dense"):
    """activation(x · Wᵀ + bias), without an activation if that is None."""

    out_features: int
    activation: Activation | None = None


class UnitNorm(Part, frozen=True, tag="unit_norm"):
    """x / max(|x|, eps), |x| the Euclidean length."""

    eps: float = 1e-12


Step = Dense | LayerNorm | UnitNorm
"""What a head does with rows, one step after the other."""


class EmbeddingHead(Part, frozen=True, tag="embedding"):
    """A vector for each sequence: steps(pooled). Several poolings lie side by side, in order."""

    poolings: tuple[Pooling, ...]
    steps: tuple[Step, ...] = ()


class SequenceHead(Part, frozen=True, tag="sequence_labels"):
    """Logits for each sequence: out(steps(pooled)). With one label it is a score, as of a reranker.

    With last_token pooling, tokens at the end of a sequence whose id is `padding_id` are attended to and not pooled,
    unless there are no others.
    """

    num_labels: int
    pooling: Pooling = "cls"
    padding_id: int | None = None
    steps: tuple[Step, ...] = ()


class TokenHead(Part, frozen=True, tag="token_labels"):
    """Logits for each token: out(steps(x))."""

    num_labels: int
    steps: tuple[Step, ...] = ()


class TermHead(Part, frozen=True, tag="term_weights"):
    """A weight for each word of the vocabulary: max over tokens of log(1 + relu(out(steps(x)))).

    SPLADE (Formal et al., arXiv:2109.10086). If `is_tied`, token embeddings and the weight of `out` are one tensor.
    """

    steps: tuple[Step, ...] = ()
    is_tied: bool = False


class TokenTermHead(Part, frozen=True, tag="token_terms"):
    """A weight for each word of the vocabulary: its own if it is a token of the text, the one column of x, else zero.

    The query's side of SPLADE without inference (Geng et al., arXiv:2411.04403).
    """

    steps: ClassVar[tuple[Step, ...]] = ()


Head = EmbeddingHead | SequenceHead | TokenHead | TermHead | TokenTermHead

Placement = Literal["post", "pre", "sandwich"]
"""Where a layer's norms stand.

post: x = norm(x + f(x)) (Vaswani et al., arXiv:1706.03762). pre: x = x + f(norm(x)), and a norm after the last layer.
sandwich: x = x + norm(f(norm(x))), and a norm after the last layer.
"""


class ModelSpec(Part, frozen=True, tag="encoder"):
    """A stack of transformer layers over summed embeddings, or these alone with `num_layers` 0, and a head.

    A layer is f = attention, then f = mlp, each with its norm where `placement` says; `skips_first_norm` if the first
    layer's attention has none. With `adds_input_twice`, placed post, attention's is x = post_norm(x + norm(x + f(x))).
    Some layers have `experts` instead of one mlp. With a `convolution`, placed post, the first layer ends with
    x = norm(x + convolution(what the layer began with)). Embeddings are multiplied by `embedding_scale`, and then
    normalized if `normalizes_embeddings`. Linear maps have biases; those of the maps in `unbiased`, named as in
    `linear_shapes` and `head_shapes`, are zero, and no checkpoint may have them.
    """

    family: str
    vocab_size: int
    type_vocab_size: int
    hidden_size: int
    num_layers: int
    positions: Positions
    attention: Attention
    mlp: MLP | GatedMLP
    norm: Norm
    head: Head
    experts: Experts | None = None
    convolution: Convolution | None = None
    placement: Placement = "post"
    skips_first_norm: bool = False
    adds_input_twice: bool = False
    normalizes_embeddings: bool = True
    embedding_scale: float = 1.0
    unbiased: tuple[str, ...] = ()

    @property
    def is_table(self) -> bool:
        """Whether there are no layers."""
        return self.num_layers == 0

    @property
    def is_tied(self) -> bool:
        """Whether the head's last map and the token embeddings are one tensor."""
        return isinstance(self.head, TermHead) and self.head.is_tied

    def experts_of(self, layer: int) -> Experts | None:
        """The experts of a layer that has them."""
        return self.experts if self.experts and layer in self.experts.layers else None

    @property
    def attended_size(self) -> int:
        """Width of queries, and of what attention gives: heads side by side."""
        return self.attention.num_heads * self.attention.head_dim

    @property
    def kv_size(self) -> int:
        """Width of keys, and of values."""
        return self.attention.num_kv_heads * self.attention.head_dim

    @property
    def step_widths(self) -> tuple[int, ...]:
        """Columns that each step of the head reads, and at the end those that come out of the last."""
        num_pooled = len(self.head.poolings) if isinstance(self.head, EmbeddingHead) else 1
        widths = [num_pooled * self.hidden_size]
        for step in self.head.steps:
            widths.append(step.out_features if isinstance(step, Dense) else widths[-1])
        return tuple(widths)

    @property
    def task(self) -> Task:
        """What the head makes the model one for."""
        match self.head:
            case EmbeddingHead():
                return "embedding"
            case TermHead() | TokenTermHead():
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
                return self.step_widths[-1]
            case TermHead() | TokenTermHead():
                return self.vocab_size
            case SequenceHead(num_labels=num_labels) | TokenHead(num_labels=num_labels):
                return num_labels
