"""The devices that engines run on."""

import re
from typing import Literal

Device = Literal["cpu", "cuda"]
"""The device of an engine, and the target of an engine directory."""

DeviceChoice = str
"""A value of the device options: auto (the fastest one that a backend supports), cpu, cuda, cuda:N or cuda:N,M,….

cuda is the first GPU, or as many GPUs as a config names; N and M are indices of GPUs, counted from 0.
"""

DEVICE_CHOICES = "auto|cpu|cuda|cuda:N[,N]"
"""The device options, for help."""


def device_choice(text: str) -> DeviceChoice:
    """Check a device option. Raises ValueError, whose message says what it must be."""
    is_valid = re.fullmatch(r"auto|cpu|cuda(:\d{1,3}(,\d{1,3})*)?", text)
    if not is_valid or len(set(gpu_indices(text))) < len(gpu_indices(text)):
        raise ValueError("auto, cpu, cuda, or cuda: and the numbers of different GPUs, such as cuda:0,1")
    return text


def device_of(choice: DeviceChoice) -> Device | None:
    """The device that an option names; None for auto."""
    match choice.partition(":")[0]:
        case "cpu":
            return "cpu"
        case "cuda":
            return "cuda"
    return None


def gpu_indices(choice: DeviceChoice) -> tuple[int, ...]:
    """The numbers of the GPUs in a device option; none if it has none."""
    return tuple(int(index) for index in choice.partition(":")[2].split(",") if index)
