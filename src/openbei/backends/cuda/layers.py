"""The weights of a model in the order of its program: sublayers, each with the norms that follow it."""

from dataclasses import dataclass

from torch import Tensor

from openbei.backends.cuda.ops import AttentionSwitches, ExpertWeights, LinearWeights, NormWeights, RotaryTables
from openbei.spec import Activation, Convolution, UnitNorm


@dataclass(frozen=True, slots=True)
class RelativeWeights:
    """Tables of disentangled attention, [num_heads, rows, D] each, and `rows` int32 [2 · reach + 1] by distance."""

    rows: Tensor
    keys: Tensor | None
    queries: Tensor | None


@dataclass(frozen=True, slots=True)
class AttentionWeights:
    """Attention of one layer.

    `head_norm` has the weights of all query heads, then of all key heads; `wide_norms` are those of the concatenated
    heads of queries and of keys. `bias` is added to scores by distance, float32 [num_heads, 2 · reach + 1].
    """

    switches: AttentionSwitches
    qkv: LinearWeights
    out: LinearWeights
    rotary: RotaryTables | None
    head_norm: NormWeights | None
    wide_norms: tuple[NormWeights, NormWeights] | None
    bias: Tensor | None
    relative: RelativeWeights | None


@dataclass(frozen=True, slots=True)
class MLPWeights:
    """An MLP; `up` has the gate's outputs first if `is_gated`."""

    up: LinearWeights
    down: LinearWeights
    is_gated: bool


@dataclass(frozen=True, slots=True)
class ConvolutionWeights:
    """The convolution over the embeddings, which ends the first layer."""

    linear: LinearWeights
    convolution: Convolution


@dataclass(frozen=True, slots=True)
class Sublayer:
    """A function and the norms that follow it.

    `norm` is applied to x + f. In post-norm models the result is the new x, unless there is a `second_norm`, of that
    result + x. In other models x + f is the new x, and its norm, which checkpoints name after the next sublayer, is the
    input of the next function; `second_norm` is applied to f before it is added.
    """

    function: AttentionWeights | MLPWeights | ExpertWeights | ConvolutionWeights
    norm: NormWeights
    second_norm: NormWeights | None = None

    @property
    def is_quantized(self) -> bool:
        """Whether the input of the function must be `Quantized`."""
        match self.function:
            case AttentionWeights(qkv=linear) | MLPWeights(up=linear):
                return linear.is_quantized
        return False


@dataclass(frozen=True, slots=True)
class DenseWeights:
    """A linear layer of a head with its activation."""

    linear: LinearWeights
    activation: Activation | None


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """All weights of a model.

    `tables` are the embedding tables of tokens, positions and types that the model has. `first_norm` is that before the
    first sublayer, or the last norm of a model without layers. Heads compute in float32, except those of term weights.
    """

    tables: tuple[Tensor, ...]
    embeddings_norm: NormWeights | None
    first_norm: NormWeights | None
    sublayers: tuple[Sublayer, ...]
    steps: tuple[DenseWeights | NormWeights | UnitNorm, ...]
    out: LinearWeights | None
