"""What each accelerator takes: the hardware rules as a table.

A GPU that is not in the table takes what its compute capability has. Sources: NVIDIA's CUDA C++ Programming Guide,
"Compute Capabilities"; Baseten's documentation of engine builds, "Quantization".
"""

from dataclasses import dataclass
from typing import Literal

from openbei.gpus import Capability, Gpu

NumberFormat = Literal["float16", "bfloat16", "fp8", "fp4"]
"""Number formats of matrix products."""

FIRST_WITH: dict[NumberFormat, Capability] = {
    "float16": Capability(7, 5),
    "bfloat16": Capability(8, 0),
    "fp8": Capability(8, 9),
    "fp4": Capability(10, 0),
}
"""The first compute capability whose matrix units take a format."""

OLDEST = FIRST_WITH["float16"]
"""The oldest compute capability that is supported."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A card: its compute capability and its memory in GB."""

    capability: Capability
    memory_gb: int

    @property
    def formats(self) -> tuple[NumberFormat, ...]:
        """The formats that it takes."""
        return formats_of(self.capability)


ACCELERATORS: dict[str, Accelerator] = {
    "T4": Accelerator(Capability(7, 5), 16),
    "L4": Accelerator(Capability(8, 9), 24),
    "A10G": Accelerator(Capability(8, 6), 24),
    "A100": Accelerator(Capability(8, 0), 80),
    "H100": Accelerator(Capability(9, 0), 80),
    "H100_40GB": Accelerator(Capability(9, 0), 40),
    "H200": Accelerator(Capability(9, 0), 141),
    "B200": Accelerator(Capability(10, 0), 180),
}
"""Accelerators that a config may name, in the order of their prices."""


def formats_of(capability: Capability) -> tuple[NumberFormat, ...]:
    """The formats that the matrix units of a compute capability take."""
    return tuple(name for name, first in FIRST_WITH.items() if capability >= first)


def accelerators_with(number_format: NumberFormat) -> tuple[str, ...]:
    """The names of the accelerators that take a format."""
    return tuple(name for name, accelerator in ACCELERATORS.items() if number_format in accelerator.formats)


def why_refused(gpu: Gpu, number_format: NumberFormat) -> tuple[str, str] | None:
    """The reason that a GPU does not take a format, and the alternative; None if it does."""
    if number_format in (formats := formats_of(gpu.capability)):
        return None
    first, cards = FIRST_WITH[number_format], ", ".join(accelerators_with(number_format))
    reason = f"{gpu.name} has compute capability {gpu.capability}; {number_format} needs {first} or later ({cards})"
    return reason, f"use {formats[-1]} on this GPU, or another GPU" if formats else "use another GPU, or --device cpu"
