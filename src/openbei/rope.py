"""Rotary embeddings (Su et al., arXiv:2104.09864): the frequencies defined by a config.json, scaled or not."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec

from openbei.errors import CheckpointError

Positive = Annotated[float, msgspec.Meta(gt=0)]
Frequencies = tuple[tuple[float, ...], float]
"""Radians per position, one for each pair of columns; and the factor of cosines and sines."""

_MAX_DIM = 1 << 16
_MAX_FREQUENCY = 1e6  # also of the factor; far above useful values, and float32 cannot overflow


class RopeParameters(msgspec.Struct, frozen=True):
    """`rope_parameters` of transformers 5, or `rope_scaling` and the related keys of older files."""

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
    def scaling_factor(self) -> float:
        """The ratio of the extended to the original context length. Raises CheckpointError."""
        if self.factor is None:
            raise CheckpointError(f"config.json: rope type {self.rope_type or self.type!r} needs a factor")
        return self.factor

    @property
    def original_length(self) -> float:
        """The context length before scaling. Raises CheckpointError."""
        length = self.original_max_position_embeddings or self.max_position_embeddings
        if length is None:
            raise CheckpointError("config.json: rope needs original_max_position_embeddings")
        return length


def frequencies(
    config: Mapping[str, object], head_dim: int, *, layer_type: str = "", default_theta: float = 10_000.0
) -> Frequencies:
    """The frequencies of a decoded config.json for heads of `head_dim`, as in transformers' modeling_rope_utils.

    `layer_type` selects the parameters if they differ by layer type. Dynamic scaling only applies beyond the model's
    context length, so it is the same as no scaling. Raises CheckpointError.
    """
    rope = _read(config, layer_type, default_theta)
    dim = int(head_dim * rope.partial_rotary_factor)
    if not 2 <= dim <= _MAX_DIM or dim % 2:
        raise CheckpointError(f"config.json: the rotary dimension is {dim}; it must be an even number, 2 to {_MAX_DIM}")
    kind = rope.rope_type or rope.type or "default"
    if kind not in ROPE_TYPES:
        raise CheckpointError(f"config.json: rope type is {kind!r}; supported: {', '.join(ROPE_TYPES)}")
    try:
        scaled, factor = ROPE_TYPES[kind](tuple(rope.rope_theta ** (-2 * i / dim) for i in range(dim // 2)), rope)
    except (ArithmeticError, ValueError) as error:
        raise CheckpointError(f"config.json: invalid rope_parameters: {error}") from error
    if not all(abs(value) < _MAX_FREQUENCY for value in (*scaled, factor)):
        raise CheckpointError(
            f"config.json: rope_parameters give frequencies up to {max(scaled)} and the factor {factor}; "
            f"both must be below {_MAX_FREQUENCY:g}"
        )
    return scaled, factor


def _read(config: Mapping[str, object], layer_type: str, default_theta: float) -> RopeParameters:
    parameters = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if isinstance(parameters, Mapping) and layer_type in parameters:
        parameters = parameters[layer_type] or {}
    if not isinstance(parameters, Mapping):
        raise CheckpointError(f"config.json: rope_parameters is {parameters!r}; it must be a mapping")
    top_level = ("rope_theta", "partial_rotary_factor", "max_position_embeddings")
    fields = {
        "rope_theta": default_theta,
        **{key: config[key] for key in top_level if config.get(key) is not None},
        **{key: value for key, value in parameters.items() if value is not None},
    }
    if original_length := config.get("original_max_position_embeddings"):
        fields["original_max_position_embeddings"] = original_length
    try:
        return msgspec.convert(fields, RopeParameters)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"config.json: rope_parameters: {error}") from error


def _unscaled(frequencies: tuple[float, ...], rope: RopeParameters) -> Frequencies:
    return frequencies, 1.0


def _linear(frequencies: tuple[float, ...], rope: RopeParameters) -> Frequencies:
    """Chen et al., arXiv:2306.15595."""
    return tuple(frequency / rope.scaling_factor for frequency in frequencies), 1.0


def _llama3(frequencies: tuple[float, ...], rope: RopeParameters) -> Frequencies:
    """Llama 3.1: low frequencies are scaled, high ones are not, those between are interpolated."""
    low, high = rope.low_freq_factor, rope.high_freq_factor
    if high <= low:
        raise CheckpointError(f"config.json: high_freq_factor is {high}; it must be above low_freq_factor, {low}")

    def scale(frequency: float) -> float:
        rotations = rope.original_length * frequency / (2 * math.pi)  # over the original context
        ramp = (rotations - low) / (high - low)
        return _interpolate(frequency, rope.scaling_factor, min(max(ramp, 0.0), 1.0))

    return tuple(scale(frequency) for frequency in frequencies), 1.0


def _yarn(frequencies: tuple[float, ...], rope: RopeParameters) -> Frequencies:
    """YaRN (Peng et al., arXiv:2309.00071): interpolated by a linear ramp over columns, with an attention factor."""
    dim, length = 2 * len(frequencies), rope.original_length
    if rope.factor is None and rope.max_position_embeddings:
        scaling_factor = rope.max_position_embeddings / length
    else:
        scaling_factor = rope.scaling_factor

    def column_of(rotations: float) -> float:
        return dim * math.log(length / (rotations * 2 * math.pi)) / (2 * math.log(rope.rope_theta))

    low, high = column_of(rope.beta_fast or 32), column_of(rope.beta_slow or 1)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    width = high - low or 0.001
    ramps = (1 - min(max((i - low) / width, 0.0), 1.0) for i in range(len(frequencies)))
    scaled = (_interpolate(each, scaling_factor, ramp) for each, ramp in zip(frequencies, ramps, strict=True))
    return tuple(scaled), _attention_factor(scaling_factor, rope)


def _interpolate(frequency: float, scaling_factor: float, unscaled_share: float) -> float:
    return frequency * unscaled_share + frequency / scaling_factor * (1 - unscaled_share)


def _attention_factor(scaling_factor: float, rope: RopeParameters) -> float:
    """YaRN's factor of cosines and sines, which raises attention scores for long contexts."""

    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(scaling_factor) + 1.0 if scaling_factor > 1 else 1.0

    if rope.attention_factor is not None:
        return rope.attention_factor
    if rope.mscale and rope.mscale_all_dim:
        return mscale(rope.mscale) / mscale(rope.mscale_all_dim)
    return mscale(1.0)


ROPE_TYPES: dict[str, Callable[[tuple[float, ...], RopeParameters], Frequencies]] = {
    "default": _unscaled,
    "dynamic": _unscaled,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}
"""rope_type -> the function that scales frequencies."""
