"""The choice of device and backend, with its reason; and why a GPU cannot be used."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import NamedTuple

from openbei.accelerators import OLDEST
from openbei.device import Device, DeviceChoice, gpu_indices
from openbei.errors import BackendError
from openbei.gpus import Gpu, Gpus, find_gpus

EXTRA = ("torch", "triton")
"""The modules of the extra `cuda`."""


class Choice(NamedTuple):
    """A device, its GPUs, and the reason. `missing` says why fewer GPUs are used than the config names."""

    device: Device
    gpus: tuple[Gpu, ...]
    reason: str
    missing: str = ""


class _Problem(NamedTuple):
    """Why a GPU cannot be used, and a hint."""

    text: str
    hint: str


def is_installed(module: str) -> bool:
    """Whether a module can be imported, without importing it."""
    return find_spec(module) is not None


def choose_device(
    choice: DeviceChoice,
    *,
    num_gpus: int = 1,
    find: Callable[[], Gpus] = find_gpus,
    installed: Callable[[str], bool] = is_installed,
) -> Choice:
    """The device of a device option. `num_gpus` is the number of GPUs for an option without indices.

    Raises BackendError if the option names a GPU that cannot be used, or if it is cuda and there are fewer usable GPUs.
    auto uses those that there are.
    """
    if choice == "cpu":
        return Choice("cpu", (), "requested")
    found = find()
    problems: list[_Problem] = []
    gpus = []
    for index in gpu_indices(choice) or range(num_gpus):
        checked = _checked(found, index, installed)
        if isinstance(checked, Gpu):
            gpus.append(checked)
        else:
            problems.append(checked)
    if problems and choice != "auto":
        text, hint = problems[0]
        if len(gpus) + len(problems) > 1:
            asked = "the option" if gpu_indices(choice) else "resources.accelerator"
            text = f"{asked} names {len(gpus) + len(problems)} GPUs, of which {len(gpus)} can be used: {text}"
        raise BackendError(f"--device {choice} is not available: {text}", hint=hint)
    if not gpus:
        return Choice("cpu", (), problems[0].text)
    reason = "requested" if choice != "auto" else f"{' and '.join(_names(gpus))} found"
    missing = f"{problems[0].text}; {len(gpus)} of {num_gpus} GPUs run batches" if problems else ""
    return Choice("cuda", tuple(gpus), reason, missing)


def _names(gpus: list[Gpu]) -> Iterator[str]:
    """The distinct names of GPUs, with the number of each if there are several."""
    for name in dict.fromkeys(gpu.name for gpu in gpus):
        count = sum(gpu.name == name for gpu in gpus)
        yield name if count == 1 else f"{count} × {name}"


def _checked(found: Gpus, index: int, installed: Callable[[str], bool]) -> Gpu | _Problem:
    """A GPU, or why it cannot be used."""
    if not found.gpus:
        return _Problem(found.missing, "use --device cpu")
    if index >= len(found.gpus):
        names = ", ".join(f"{gpu.index} ({gpu.name})" for gpu in found.gpus)
        text = f"there is no GPU {index}; those visible are {names}"
        return _Problem(text, "use those with --device cuda:N, or --device cpu; CUDA_VISIBLE_DEVICES may hide others")
    gpu = found.gpus[index]
    if gpu.capability < OLDEST:
        text = f"{gpu.name} has compute capability {gpu.capability}; {OLDEST} or later is needed"
        return _Problem(text, "use --device cpu, or another GPU")
    if missing := [module for module in EXTRA if not installed(module)]:
        text = f"{gpu.name} was found, but the extra cuda is not installed: no {' and no '.join(missing)}"
        return _Problem(text, "in a clone of openbei, pip install '.[cuda]'")
    return gpu
