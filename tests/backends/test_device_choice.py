"""Which device runs, why, and what is said if it cannot."""

import pytest

from openbei.backends.device_choice import choose_device
from openbei.errors import BackendError
from openbei.gpus import Capability, Gpu, Gpus

H100, V100 = Gpu(0, "NVIDIA H100", Capability(9, 0), 80 << 30), Gpu(1, "Tesla V100", Capability(7, 0), 16 << 30)
BOTH = Gpus((H100, V100), (13, 0))
NONE = Gpus(missing="no NVIDIA driver: libcuda.so.1 is not installed")


def test_a_gpu_is_preferred() -> None:
    choice = choose_device("auto", find=lambda: BOTH, installed=lambda module: True)
    assert (choice.device, choice.gpu, choice.reason) == ("cuda", H100, "NVIDIA H100 was found")
    assert choose_device("cuda:0", find=lambda: BOTH, installed=lambda module: True).gpu == H100


def test_the_cpu_may_be_requested() -> None:
    def find() -> Gpus:
        raise AssertionError("not asked")

    assert choose_device("cpu", find=find).device == "cpu"


UNUSABLE = [
    (NONE, True, "cuda", "no NVIDIA driver: libcuda.so.1 is not installed", "use --device cpu"),
    (BOTH, True, "cuda:2", "there is no GPU 2; those visible are 0 (NVIDIA H100), 1 (Tesla V100)", "use one of these"),
    (BOTH, True, "cuda:1", "Tesla V100 has compute capability 7.0; 7.5 or later is needed", "--device cpu"),
    (BOTH, False, "cuda", "NVIDIA H100 was found, but the extra cuda is not installed: no torch", ".[cuda]"),
]


@pytest.mark.parametrize(("found", "is_installed", "requested", "problem", "hint"), UNUSABLE)
def test_a_gpu_that_cannot_be_used(found: Gpus, is_installed: bool, requested: str, problem: str, hint: str) -> None:
    with pytest.raises(BackendError) as caught:
        choose_device(requested, find=lambda: found, installed=lambda module: is_installed)
    assert f"--device {requested} is not available: {problem}" in caught.value.message
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("found", [NONE, Gpus((V100,)), BOTH])
def test_auto_falls_back_and_says_why(found: Gpus) -> None:
    choice = choose_device("auto", find=lambda: found, installed=lambda module: False)
    assert (choice.device, choice.gpu) == ("cpu", None)
    assert any(word in choice.reason for word in ("driver", "capability", "extra"))
