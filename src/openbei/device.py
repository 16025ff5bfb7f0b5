"""The devices that engines run on."""

import re
from typing import Literal

Device = Literal["cpu", "cuda"]
"""The device of an engine, and the target of an engine directory."""

DeviceChoice = str
"""A value of the device options: auto (the fastest one that a backend supports), cpu, cuda or cuda:N, the N-th GPU."""

DEVICE_CHOICES = "auto|cpu|cuda|cuda:N"
"""The device options, for help."""


def device_choice(text: str) -> DeviceChoice:
    """Check a device option. Raises ValueError, whose message says what it must be."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", text):
        raise ValueError("auto, cpu, cuda, or cuda: and the number of a GPU")
    return text


def gpu_index(choice: DeviceChoice) -> int:
    """The number of the GPU in a device option; 0 if it has none."""
    return int(choice.partition(":")[2] or 0)
