"""The number formats that each accelerator supports, as a table.

For a GPU that is not in the table, its compute capability decides. Sources: NVIDIA's CUDA C++ Programming Guide,
"Compute Capabilities"; Baseten's documentation of engine builds, "Quantization".
"""

import re
from collections.abc import Iterator
from typing import Literal

from openbei.errors import ConfigError, did_you_mean
from openbei.gpus import Capability

NumberFormat = Literal["float16", "bfloat16", "fp8", "fp4"]
"""Number formats of matrix products."""

FIRST_WITH: dict[NumberFormat, Capability] = {
    "float16": Capability(7, 5),
    "bfloat16": Capability(8, 0),
    "fp8": Capability(8, 9),
    "fp4": Capability(10, 0),
}
"""The first compute capability whose matrix units support a format."""

OLDEST = FIRST_WITH["float16"]
"""The oldest compute capability that is supported."""


ACCELERATORS: dict[str, Capability] = {
    "T4": Capability(7, 5),
    "L4": Capability(8, 9),
    "A10G": Capability(8, 6),
    "V100": Capability(7, 0),
    "A100": Capability(8, 0),
    "A100_40GB": Capability(8, 0),
    "L40S": Capability(8, 9),
    "H100": Capability(9, 0),
    "H100_40GB": Capability(9, 0),
    "H200": Capability(9, 0),
    "B200": Capability(10, 0),
    "B300": Capability(10, 3),
    "GB300": Capability(10, 3),
    "RTX_PRO_6000": Capability(12, 0),
}
"""The accelerators that a config may name, with their compute capabilities."""

REFUSED = {"B10": "truss accepts B10, but Baseten does not document it; name the GPU that the config is for"}
"""Other names in truss's schema → why they are refused, as a hint."""


def formats_of(capability: Capability) -> tuple[NumberFormat, ...]:
    """The formats that the matrix units of a compute capability support."""
    return tuple(name for name, first in FIRST_WITH.items() if capability >= first)


def accelerators_with(number_format: NumberFormat) -> tuple[str, ...]:
    """The names of the accelerators that support a format."""
    return tuple(name for name, capability in ACCELERATORS.items() if number_format in formats_of(capability))


def parse_accelerator(accelerator: str) -> tuple[str, int]:
    """The name of a config's accelerator, NAME or NAME:count, and the number of GPUs.

    Raises ConfigError for a name that does not exist.
    """
    name, _, count = accelerator.partition(":")
    if name not in ACCELERATORS or not re.fullmatch(r"(:[1-9]\d?)?", accelerator.removeprefix(name)):
        raise ConfigError(
            f"resources.accelerator is {accelerator!r}; it must be one of {', '.join(ACCELERATORS)}, with or without a "
            "number of GPUs, such as H100:2",
            hint=REFUSED.get(name) or did_you_mean(name, ACCELERATORS),
        )
    return name, int(count or 1)


def check_accelerator(accelerator: str, quantization: str) -> None:
    """Raise ConfigError for a GPU that is too old, and for fp8 on a GPU without fp8. fp4 is expanded where needed."""
    name, _ = parse_accelerator(accelerator)
    formats = formats_of(ACCELERATORS[name])
    if not formats:
        raise ConfigError(
            f"resources.accelerator is {name}; its compute capability {ACCELERATORS[name]} is below {OLDEST}",
            hint=f"use {_listed('float16')}, or --device cpu",
        )
    if quantization.startswith("fp8") and "fp8" not in formats:
        raise ConfigError(
            f"trt_llm.build.quantization_type is {quantization!r}, but {name} has no units for fp8",
            hint=f"use no_quant on {name}, or {_listed('fp8')}",
        )


def accelerator_notes(
    accelerator: str | None, quantization: str, dtype: str | None = None
) -> Iterator[tuple[str, str, bool]]:
    """What a config's accelerator means: the accelerator, a note, and whether it is a warning.

    The GPU of the machine decides what runs. Raises ConfigError for a name that does not exist, and for a
    quantization that is for CPUs.
    """
    if not accelerator:
        return
    name, count = parse_accelerator(accelerator)
    formats = formats_of(ACCELERATORS[name])
    yield accelerator, f"supports {', '.join(formats)}" if formats else "is too old for openbei", not formats
    if quantization == "smooth_quant":
        raise ConfigError(
            f"trt_llm.build.quantization_type is 'smooth_quant', which is for CPUs; resources.accelerator is "
            f"{accelerator!r}",
            hint="remove resources.accelerator, or use fp8",
        )
    if quantization.startswith("fp8") and "fp8" not in formats:
        yield accelerator, f"has no units for fp8; use no_quant, or {_listed('fp8')}", True
    elif quantization.startswith("fp4") and "fp4" not in formats:
        better = f"use {'fp8' if 'fp8' in formats else 'no_quant'} on it, or {_listed('fp4')}"
        yield accelerator, f"has no units for fp4: weights are expanded to 16 bits; {better}", True
    if dtype == "bfloat16" and formats and "bfloat16" not in formats:
        yield (
            accelerator,
            f"has no units for bfloat16, so it computes in float16; for bfloat16, use {_listed('bfloat16')}",
            True,
        )
    if count > 1:
        yield accelerator, f"`bei serve` with this config runs on {count} GPUs", False


def _listed(number_format: NumberFormat) -> str:
    """The accelerators that support a format, for messages."""
    names = accelerators_with(number_format)
    return f"{', '.join(names[:-1])} or {names[-1]}"
