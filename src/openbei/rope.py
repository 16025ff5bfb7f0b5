"""Rotary positions (Su et al., arXiv:2104.09864): the frequencies that a config.json asks for, stretched or plain."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec

from openbei.errors import CheckpointError

Positive = Annotated[float, msgspec.Meta(gt=0)]
Turns = tuple[tuple[float, ...], float]
"""Radians by position, one for each pair of columns; and what cosines and sines are multiplied by."""

_WIDEST = 1 << 16
_LARGEST = 1e6  # of either, far above what is meant: float32 overflows later


class RopeParameters(msgspec.Struct, frozen=True):
    """`rope_parameters` (transformers 5) or `rope_scaling`, with what stands beside it in older files."""

    rope_theta: Annotated[float, msgspec.Meta(gt=1)] = 10_000.0
    rope_type: str | None = None
    type: str | None = None
    partial_rotary_factor: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    factor: Positive | None = None
    max_position_embeddings: Positive | None = None
    original_max_position_embeddings: Positive | None = None
    low_freq_factor: Positive = 1.0
    high_freq_factor: Positive = 4.0
    attention_factor: float | None = None
    beta_fast: Positive | None = None
    beta_slow: Positive | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @property
    def stretch(self) -> float:
        """How many times further than they were trained for positions go. Raises CheckpointError."""
        if self.factor is None:
            raise CheckpointError(f"config.json: rope type {self.rope_type or self.type!r} needs a factor")
        return self.factor

    @property
    def original_length(self) -> float:
        """Positions of the training before the stretch. Raises CheckpointError."""
        length = self.original_max_position_embeddings or self.max_position_embeddings
        if length is None:
            raise CheckpointError("config.json: rope needs original_max_position_embeddings")
        return length


def frequencies(
    config: Mapping[str, object], head_dim: int, *, layer_type: str = "", default_theta: float = 10_000.0
) -> Turns:
    """Frequencies of a decoded config.json, for heads of `head_dim`; of one type of layer where it tells them apart.

    As transformers' modeling_rope_utils computes them. A dynamic stretch begins beyond the model's own length, which no
    sequence here is. Raises CheckpointError, naming a type that is not implemented.
    """
    rope = _read(config, layer_type, default_theta)
    dim = int(head_dim * rope.partial_rotary_factor)
    if not 2 <= dim <= _WIDEST or dim % 2:
        raise CheckpointError(f"config.json: {dim} columns of a head turn; it must be an even number, 2 to {_WIDEST}")
    kind = rope.rope_type or rope.type or "default"
    if kind not in STRETCHES:
        raise CheckpointError(f"config.json: rope type is {kind!r}; implemented are: {', '.join(STRETCHES)}")
    try:
        turns, factor = STRETCHES[kind](tuple(rope.rope_theta ** (-2 * i / dim) for i in range(dim // 2)), rope)
    except (ArithmeticError, ValueError) as error:
        raise CheckpointError(f"config.json: rope_parameters cannot be computed with: {error}") from error
    if not all(abs(each) < _LARGEST for each in (*turns, factor)):
        raise CheckpointError(f"config.json: rope_parameters turn by up to {max(turns)}, times {factor}")
    return turns, factor


def _read(config: Mapping[str, object], layer_type: str, default_theta: float) -> RopeParameters:
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if isinstance(given, Mapping) and layer_type in given:
        given = given[layer_type] or {}
    if not isinstance(given, Mapping):
        raise CheckpointError(f"config.json: rope_parameters is {given!r}; it must be a mapping")
    beside = ("rope_theta", "partial_rotary_factor", "max_position_embeddings")
    around = {key: config[key] for key in beside if config.get(key) is not None}
    fields = {
        "rope_theta": default_theta,
        **around,
        **{key: value for key, value in given.items() if value is not None},
    }
    if outer := config.get("original_max_position_embeddings"):
        fields["original_max_position_embeddings"] = outer
    try:
        return msgspec.convert(fields, RopeParameters)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: rope_parameters: {error}") from error


def _plain(plain: tuple[float, ...], rope: RopeParameters) -> Turns:
    return plain, 1.0


def _linear(plain: tuple[float, ...], rope: RopeParameters) -> Turns:
    """Chen et al., arXiv:2306.15595."""
    return tuple(each / rope.stretch for each in plain), 1.0


def _llama3(plain: tuple[float, ...], rope: RopeParameters) -> Turns:
    """Llama 3.1: slow turns are stretched, fast ones are not, those between partly."""

    def stretched(each: float) -> float:
        turns = rope.original_length * each / (2 * math.pi)  # in the whole of the original length
        share = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
        return _mixed(each, rope.stretch, min(max(share, 0.0), 1.0))

    if rope.high_freq_factor <= rope.low_freq_factor:
        raise CheckpointError("config.json: rope high_freq_factor must be above low_freq_factor")
    return tuple(stretched(each) for each in plain), 1.0


def _yarn(plain: tuple[float, ...], rope: RopeParameters) -> Turns:
    """YaRN (Peng et al., arXiv:2309.00071): the same by a ramp over columns; attention is sharpened."""
    dim, length = 2 * len(plain), rope.original_length
    stretch = rope.stretch if rope.factor or not rope.max_position_embeddings else rope.max_position_embeddings / length

    def column_of(turns: float) -> float:
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(rope.rope_theta))

    low, high = column_of(rope.beta_fast or 32), column_of(rope.beta_slow or 1)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = high - low or 0.001
    shares = (1 - min(max((i - low) / width, 0.0), 1.0) for i in range(len(plain)))
    turned = tuple(_mixed(each, stretch, share) for each, share in zip(plain, shares, strict=True))
    return turned, _sharpening(stretch, rope)


def _mixed(frequency: float, stretch: float, share: float) -> float:
    """A frequency of which a share is kept, and the rest is stretched."""
    return frequency * share + frequency / stretch * (1 - share)


def _sharpening(stretch: float, rope: RopeParameters) -> float:
    def scale(weight: float) -> float:
        return 0.1 * weight * math.log(stretch) + 1.0 if stretch > 1 else 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return scale(rope.mscale) / scale(rope.mscale_all_dim)
    return scale(1.0)


STRETCHES: dict[str, Callable[[tuple[float, ...], RopeParameters], Turns]] = {
    "default": _plain,
    "dynamic": _plain,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
"""Type -> what becomes of the plain frequencies."""
