"""The choice of device and backend, with its reason; and why a GPU cannot be used."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

from openbei.accelerators import OLDEST
from openbei.device import Device, DeviceChoice, gpu_index
from openbei.errors import BackendError
from openbei.gpus import Gpu, Gpus, find_gpus

EXTRA = ("torch", "triton")
"""The modules of the extra `cuda`."""


class Choice(NamedTuple):
    """A device, the GPU if it is one, and the reason."""

    device: Device
    gpu: Gpu | None
    reason: str


def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return find_spec(module) is not None


def choose_device(
    choice: DeviceChoice,
    *,
    find: Callable[[], Gpus] = find_gpus,
    installed: Callable[[str], bool] = is_installed,
) -> Choice:
    """The device of a device option. Raises BackendError if the option names a GPU that cannot be used."""
    if choice == "cpu":
        return Choice("cpu", None, "requested")
    found = find()
    gpu, problem, hint = _usable(found, gpu_index(choice), installed)
    if gpu:
        return Choice("cuda", gpu, "requested" if choice != "auto" else f"{gpu.name} was found")
    if choice == "auto":
        return Choice("cpu", None, problem)
    raise BackendError(f"--device {choice} is not available: {problem}", hint=hint)


def _usable(found: Gpus, index: int, installed: Callable[[str], bool]) -> tuple[Gpu | None, str, str]:
    """A GPU, or the problem and a hint."""
    if not found.gpus:
        return None, found.missing, "use --device cpu"
    if index >= len(found.gpus):
        names = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in found.gpus)
        return None, f"there is no GPU {index}; those visible are {names}", "use one of these, or --device cpu"
    gpu = found.gpus[index]
    if gpu.capability < OLDEST:
        problem = f"{gpu.name} has compute capability {gpu.capability}; {OLDEST} or later is needed"
        return None, problem, "use --device cpu, or another GPU"
    if missing := [module for module in EXTRA if not installed(module)]:
        problem = f"{gpu.name} was found, but the extra cuda is not installed: no {' and no '.join(missing)}"
        return None, problem, "in a clone of openbei, pip install '.[cuda]'"
    return gpu, "", ""
