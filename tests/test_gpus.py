"""GPUs as the driver's library tells of them, by a library that stands in for it."""

import ctypes
from typing import Any

from openbei.gpus import Capability, Gpu, Gpus, find_gpus

NAMES = {0: b"NVIDIA H100 80GB HBM3", 1: b"Tesla T4"}
CAPABILITIES = {0: (9, 0), 1: (7, 5)}
MEMORY = {0: 85_520_809_984, 1: 15_828_320_256}


class Driver:
    """The functions of libcuda; `status` is what cuInit returns."""

    def __init__(self, count: int = 2, status: int = 0) -> None:
        self.count, self.status = count, status

    def cuInit(self, flags: int) -> int:
        return self.status

    def cuDriverGetVersion(self, out: Any) -> int:
        out._obj.value = 13_010
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:
        out._obj.value = self.count
        return 0

    def cuDeviceGet(self, out: Any, index: int) -> int:
        out._obj.value = index
        return 0

    def cuDeviceGetName(self, out: Any, size: int, device: int) -> int:
        ctypes.memmove(out, NAMES[device] + b"\0", len(NAMES[device]) + 1)
        return 0

    def cuDeviceTotalMem_v2(self, out: Any, device: int) -> int:
        out._obj.value = MEMORY[device]
        return 0

    def cuDeviceGetAttribute(self, out: Any, attribute: int, device: int) -> int:
        out._obj.value = CAPABILITIES[device][attribute - 75]
        return 0


def test_two_gpus() -> None:
    found = find_gpus(lambda name: Driver())
    assert found.driver == (13, 1)
    assert found.gpus == (
        Gpu(0, "NVIDIA H100 80GB HBM3", Capability(9, 0), MEMORY[0]),
        Gpu(1, "Tesla T4", Capability(7, 5), MEMORY[1]),
    )
    assert str(found.gpus[1].capability) == "7.5"


def test_no_driver() -> None:
    def load(name: str) -> None:
        raise OSError(name)

    assert find_gpus(load) == Gpus(missing="no NVIDIA driver: libcuda.so.1 is not installed")


def test_no_gpu() -> None:
    assert "hides all" in find_gpus(lambda name: Driver(status=100)).missing
    assert "hides all" in find_gpus(lambda name: Driver(count=0)).missing
    assert "cuInit returned 803" in find_gpus(lambda name: Driver(status=803)).missing


def test_this_machine() -> None:
    """Whatever it has, the answer is one or the other."""
    found = find_gpus()
    assert bool(found.gpus) != bool(found.missing)
