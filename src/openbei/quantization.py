"""Quantization types of Truss configs: the number format of quantized weights, and the linear layers that use it.

On CPUs, smooth_quant multiplies integers: the inputs of layers are quantized too. All other types quantize only
weights, which are expanded to bfloat16; activations keep their precision.
"""

import re
from dataclasses import dataclass

from openbei.errors import ConfigError

NO_QUANTIZATION = "no_quant"


@dataclass(frozen=True, slots=True)
class Quantization:
    """The format of the weights of all linear layers of the transformer, or only of those in its MLPs.

    With `quantizes_inputs`, the inputs of these layers are quantized too, and builds are calibrated. `note` says which
    part of the type has no effect here, and why.
    """

    format: str
    only_mlp: bool = False
    quantizes_inputs: bool = False
    note: str | None = None


_NO_CACHE = "an encoder has no key-value cache"
QUANTIZATIONS: dict[str, Quantization] = {
    "smooth_quant": Quantization("smooth_int8", quantizes_inputs=True),
    "weights_int8": Quantization("int8"),
    "weights_kv_int8": Quantization("int8", note=_NO_CACHE),
    "fp8": Quantization("float8"),
    "fp8_kv": Quantization("float8", note=_NO_CACHE),
    "fp8_mlp_only": Quantization("float8", only_mlp=True),
    "fp4": Quantization("nvfp4"),
    "fp4_kv": Quantization("nvfp4", note=_NO_CACHE),
    "fp4_mlp_only": Quantization("nvfp4", only_mlp=True),
}

OTHERS = {
    "weights_int4": "use fp4, which takes 4.5 bits per weight",
    "weights_int4_kv_int8": "use fp4, which takes 4.5 bits per weight",
}
"""Quantization types that are not supported -> what to use instead."""

_MLP = re.compile(r"layers\.\d+\.mlp\.(experts\.\d+\.)?(gate|up|down)\.weight")
_ATTENTION = re.compile(r"layers\.\d+\.attention\.(qkv|out)\.weight")


def check_quantization(quantization: str, dtype: str | None) -> None:
    """Raise ConfigError for a quantization type that is not supported, or not with a dtype."""
    if quantization in OTHERS:
        raise ConfigError(
            f"trt_llm.build.quantization_type is {quantization!r}, which is not implemented", hint=OTHERS[quantization]
        )
    if quantization not in (NO_QUANTIZATION, *QUANTIZATIONS):
        raise ConfigError(
            f"quantization is {quantization!r}; it must be one of {', '.join((NO_QUANTIZATION, *QUANTIZATIONS))}"
        )
    if quantization != NO_QUANTIZATION and dtype == "float32":
        raise ConfigError(
            f"trt_llm.build.quantization_type is {quantization!r} and DTYPE is {dtype!r}; "
            "the other weights of a quantized engine are bfloat16",
            hint="remove DTYPE, or use no_quant",
        )


def is_quantized(tensor: str, quantization: Quantization) -> bool:
    """Whether an engine tensor has the quantized format."""
    return bool(_MLP.fullmatch(tensor) or (not quantization.only_mlp and _ATTENTION.fullmatch(tensor)))
