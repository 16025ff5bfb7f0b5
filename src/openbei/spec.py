"""ModelSpec: a transformer described as immutable data. Families create one and backends interpret it.

Each variable part is a tagged union or a literal whose alternatives all backends implement. A new architecture adds an
alternative and its implementation in each backend, not a second transformer.
"""

from typing import ClassVar, Literal

from openbei.attention_bias import BucketBias, Disentangled, DistanceBias
from openbei.spec_part import Part

Activation = Literal["gelu", "gelu_tanh", "relu", "sigmoid", "silu", "tanh"]
"""gelu is x·Φ(x) (erf); gelu_tanh is its tanh approximation (Hendrycks & Gimpel, arXiv:1606.08415)."""

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len", "weighted_mean", "last_token"]
"""How token vectors are pooled to one vector.

cls: the first token. max: the maximum of each column. mean_sqrt_len: the sum divided by the square root of the number
of tokens. weighted_mean: the mean weighted by position, counted from 1 (Muennighoff, arXiv:2202.08904).
"""

Task = Literal["embedding", "reranker", "classifier", "token_classifier", "sparse", "late_interaction"]
"""The task of a model. A reranker is a classifier with one label. Late interaction is ColBERT's."""

DType = Literal["bfloat16", "float16", "float32"]
"""Number formats that a config can choose for weights; accumulation is always float32."""


class LayerNorm(Part, frozen=True, tag="layer_norm"):
    """(x - mean) / sqrt(var + eps) · weight + bias."""

    eps: float


class RMSNorm(Part, frozen=True, tag="rms_norm"):
    """x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich, arXiv:1910.07467)."""

    eps: float


Norm = LayerNorm | RMSNorm


class LearnedPositions(Part, frozen=True, tag="learned"):
    """A table of position embeddings, which are added to the token embeddings; position 0 is row `first`.

    A token whose id is `padding_id` gets row `first` - 1 and does not count for the positions of later tokens.
    """

    max_positions: int
    first: int = 0
    padding_id: int | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows of the table."""
        return self.first + self.max_positions


class NoPositions(Part, frozen=True, tag="none"):
    """No position embeddings; only attention depends on positions."""

    max_positions: int
    num_rows: int = 0


Positions = LearnedPositions | NoPositions


class Rotary(Part, frozen=True, tag="rotary"):
    """Rotary embeddings of queries and keys (Su et al., arXiv:2104.09864): column i is paired with column i + dim / 2.

    `frequencies` are dim / 2 angles per position, in radians; `factor` multiplies cosines and sines.
    """

    frequencies: tuple[float, ...]
    factor: float = 1.0

    @property
    def dim(self) -> int:
        """Number of columns of each head that are rotated; the remaining columns are unchanged."""
        return 2 * len(self.frequencies)


class LocalLayers(Part, frozen=True, tag="local"):
    """Layers in which tokens attend only to those at most `window` away; `rotary` None is that of the other layers."""

    layers: tuple[int, ...]
    window: int
    rotary: Rotary | None = None


class Attention(Part, frozen=True, tag="full"):
    """Softmax attention within a sequence; if causal, tokens only attend to themselves and to earlier tokens.

    Scores are multiplied by `scale` (None: head_dim^-½) and then, unless `softcap` is 0, replaced by
    softcap · tanh(score / softcap). Consecutive query heads share a key and value head if `num_kv_heads` is less than
    `num_heads`. `norm` applies to queries and keys before rotary embeddings: to each head, or to the concatenated heads
    if `norms_all_heads`.
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
    """Mixture of experts (Shazeer et al., arXiv:1701.06538): `layers` have `count` MLPs each.

    The output for a token is the weighted sum of `top_k` MLPs, plus a bias. The weights are the largest values of
    softmax(router(x)), divided by their sum if `normalizes`.
    """

    count: int
    top_k: int
    layers: tuple[int, ...]
    normalizes: bool = False


class Convolution(Part, frozen=True, tag="convolution"):
    """activation(linear(x)), where x is the concatenation of `width` rows centered at the token.

    `width` is odd. Sequences are padded with zeros.
    """

    width: int
    activation: Activation


class Dense(Part, frozen=True, tag="dense"):
    """activation(x · Wᵀ + bias); None is no activation."""

    out_features: int
    activation: Activation | None = None


class UnitNorm(Part, frozen=True, tag="unit_norm"):
    """x / max(|x|, eps), where |x| is the Euclidean norm."""

    eps: float = 1e-12


Step = Dense | LayerNorm | UnitNorm
"""An operation of a head before its final linear layer. Steps are applied in order."""


class EmbeddingHead(Part, frozen=True, tag="embedding"):
    """A vector for each sequence: steps(pooled). The outputs of several poolings are concatenated, in order."""

    poolings: tuple[Pooling, ...]
    steps: tuple[Step, ...] = ()


class SequenceHead(Part, frozen=True, tag="sequence_labels"):
    """Logits for each sequence: out(steps(pooled)). With one label, the logit is the score of a reranker.

    With last_token pooling, trailing tokens whose id is `padding_id` are attended to but skipped by pooling, unless the
    sequence has no other tokens.
    """

    num_labels: int
    pooling: Pooling = "cls"
    padding_id: int | None = None
    steps: tuple[Step, ...] = ()


class TokenHead(Part, frozen=True, tag="token_labels"):
    """Logits for each token: out(steps(x))."""

    num_labels: int
    steps: tuple[Step, ...] = ()


class TokenEmbeddingHead(Part, frozen=True, tag="token_embeddings"):
    """Late interaction (Khattab & Zaharia, arXiv:2004.12832): a vector for each token: steps(x).

    In all layers, trailing tokens whose id is `unattended_id` attend to the tokens before them, but no token attends to
    them. The output of attention is zero for a token that attends to none.
    """

    steps: tuple[Step, ...] = ()
    unattended_id: int | None = None


class TermHead(Part, frozen=True, tag="term_weights"):
    """SPLADE (Formal et al., arXiv:2109.10086): a weight for each term of the vocabulary.

    The weight is the maximum over tokens of log(1 + relu(out(steps(x)))). If `is_tied`, the token embeddings and the
    weight of `out` are one tensor.
    """

    steps: tuple[Step, ...] = ()
    is_tied: bool = False


class TokenTermHead(Part, frozen=True, tag="token_terms"):
    """Queries of inference-free SPLADE (Geng et al., arXiv:2411.04403): a weight for each term of the vocabulary.

    The weight of a token of the text is the single column of x; all others are zero.
    """

    steps: ClassVar[tuple[Step, ...]] = ()


Head = EmbeddingHead | SequenceHead | TokenHead | TokenEmbeddingHead | TermHead | TokenTermHead

Placement = Literal["post", "pre", "sandwich"]
"""The position of a layer's norms.

post: x = norm(x + f(x)) (Vaswani et al., arXiv:1706.03762). pre: x = x + f(norm(x)), and a norm after the last layer.
sandwich: x = x + norm(f(norm(x))), and a norm after the last layer.
"""


class ModelSpec(Part, frozen=True, tag="encoder"):
    """The sum of token, position and type embeddings, followed by transformer layers and a head.

    Embeddings are multiplied by `embedding_scale`, then normalized if `normalizes_embeddings`. A layer applies
    f = attention, then f = mlp, each with its norms as in `placement`. Layers of `experts` have experts instead of the
    mlp. `first_attention_has_no_norm` omits the norm before the first layer's attention. `doubles_residual` requires
    post-norm and changes attention to x = post_norm(x + norm(x + f(x))). `convolution` requires post-norm and ends the
    first layer with x = norm(x + convolution(input of the layer)). Linear layers in `linears_without_bias`, named as in
    `linear_shapes` and `head_shapes`, have zero biases, and checkpoints must not have tensors for these.
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
    first_attention_has_no_norm: bool = False
    doubles_residual: bool = False
    normalizes_embeddings: bool = True
    embedding_scale: float = 1.0
    linears_without_bias: tuple[str, ...] = ()

    @property
    def is_static(self) -> bool:
        """Whether the model has no layers, only a table of embeddings."""
        return self.num_layers == 0

    @property
    def unattended_id(self) -> int | None:
        """The id of trailing tokens that are not attended to; None if all tokens are."""
        return self.head.unattended_id if isinstance(self.head, TokenEmbeddingHead) else None

    @property
    def is_tied(self) -> bool:
        """Whether the head's final linear layer and the token embeddings share a weight tensor."""
        return isinstance(self.head, TermHead) and self.head.is_tied

    def experts_of(self, layer: int) -> Experts | None:
        """The experts of a layer, or None."""
        return self.experts if self.experts and layer in self.experts.layers else None

    @property
    def query_size(self) -> int:
        """Number of columns of the queries, and of attention's output: num_heads · head_dim."""
        return self.attention.num_heads * self.attention.head_dim

    @property
    def kv_size(self) -> int:
        """Number of columns of the keys, and of the values: num_kv_heads · head_dim."""
        return self.attention.num_kv_heads * self.attention.head_dim

    @property
    def step_widths(self) -> tuple[int, ...]:
        """Number of input columns of each step of the head, then of output columns of the last."""
        num_pooled = len(self.head.poolings) if isinstance(self.head, EmbeddingHead) else 1
        widths = [num_pooled * self.hidden_size]
        for step in self.head.steps:
            widths.append(step.out_features if isinstance(step, Dense) else widths[-1])
        return tuple(widths)

    @property
    def task(self) -> Task:
        """The task, which follows from the head."""
        match self.head:
            case EmbeddingHead():
                return "embedding"
            case TermHead() | TokenTermHead():
                return "sparse"
            case TokenHead():
                return "token_classifier"
            case TokenEmbeddingHead():
                return "late_interaction"
            case SequenceHead(num_labels=num_labels):
                return "reranker" if num_labels == 1 else "classifier"

    @property
    def output_width(self) -> int:
        """Number of columns of the head's output: dimensions, labels or terms of the vocabulary."""
        match self.head:
            case EmbeddingHead() | TokenEmbeddingHead():
                return self.step_widths[-1]
            case TermHead() | TokenTermHead():
                return self.vocab_size
            case SequenceHead(num_labels=num_labels) | TokenHead(num_labels=num_labels):
                return num_labels
