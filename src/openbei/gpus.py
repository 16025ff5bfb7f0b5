"""The NVIDIA GPUs of this machine, as the driver's library lists them: without torch, and without using a GPU.

CUDA Driver API: https://docs.nvidia.com/cuda/cuda-driver-api. CUDA_VISIBLE_DEVICES applies.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

LIBRARY = "libcuda.so.1"
"""The driver's library, which is installed with it."""

_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: the compute capability
_NAME_BYTES = 256
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


class Capability(NamedTuple):
    """A compute capability, which says which instructions a GPU has."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; `index` counts the visible ones."""

    index: int
    name: str
    capability: Capability
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Gpus:
    """The visible GPUs. If there are none, `missing` is the reason. `driver` is the newest CUDA version it supports."""

    gpus: tuple[Gpu, ...] = ()
    driver: tuple[int, int] = (0, 0)
    missing: str = ""


def find_gpus(load: Callable[[str], Any] = ctypes.CDLL) -> Gpus:
    """Query the driver. `load` opens a library, and raises OSError if there is none."""
    try:
        library = load(LIBRARY)
    except OSError:
        return Gpus(missing=f"no NVIDIA driver: {LIBRARY} is not installed")
    status = library.cuInit(0)
    if status == _NO_DEVICE:
        return Gpus(missing="the driver sees no GPU, or CUDA_VISIBLE_DEVICES hides all")
    if status:
        return Gpus(missing=f"the driver cannot be initialized: cuInit returned {status}")
    version = _integer(library.cuDriverGetVersion)
    driver = (version // 1000, version % 1000 // 10)
    gpus = tuple(_gpu(library, index) for index in range(_integer(library.cuDeviceGetCount)))
    return Gpus(gpus, driver, "" if gpus else "the driver sees no GPU, or CUDA_VISIBLE_DEVICES hides all")


def _gpu(library: Any, index: int) -> Gpu:  # noqa: ANN401
    device = _integer(library.cuDeviceGet, index)
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    library.cuDeviceGetName(name, _NAME_BYTES, device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor = (_integer(library.cuDeviceGetAttribute, attribute, device) for attribute in (_MAJOR, _MINOR))
    return Gpu(index, name.value.decode(errors="replace"), Capability(major, minor), memory.value)


def _integer(function: Callable[..., int], *arguments: int) -> int:
    """The result of a function that writes an int; 0 if it fails."""
    value = ctypes.c_int()
    function(ctypes.byref(value), *arguments)
    return value.value
