"""Which device runs, why, and what is said if it cannot."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Queue
from types import SimpleNamespace

import pytest

from openbei import backends
from openbei.backends.device_choice import choose_device
from openbei.batch import Engine, EngineInfo
from openbei.device import device_choice
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError
from openbei.gpus import Capability, Gpu, Gpus
from tests.random_engine import random_engine_dir
from tests.small_models import small_spec

H100, V100 = Gpu(0, "NVIDIA H100", Capability(9, 0), 80 << 30), Gpu(1, "Tesla V100", Capability(7, 0), 16 << 30)
BOTH = Gpus((H100, V100), (13, 0))
NONE = Gpus(missing="no NVIDIA driver: libcuda.so.1 is not installed")


def test_a_gpu_is_preferred() -> None:
    choice = choose_device("auto", find=lambda: BOTH, installed=lambda module: True)
    assert choice == ("cuda", (H100,), "NVIDIA H100 found", "")
    assert choose_device("cuda:0", find=lambda: BOTH, installed=lambda module: True).gpus == (H100,)


def test_the_cpu_may_be_requested() -> None:
    def find() -> Gpus:
        raise AssertionError("not asked")

    assert choose_device("cpu", find=find).device == "cpu"


UNUSABLE = [
    (NONE, True, "cuda", "no NVIDIA driver: libcuda.so.1 is not installed", "use --device cpu"),
    (
        BOTH,
        True,
        "cuda:2",
        "there is no GPU 2; those visible are 0 (NVIDIA H100), 1 (Tesla V100)",
        "use those with --device cuda:N",
    ),
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
    assert (choice.device, choice.gpus) == ("cpu", ())
    assert any(word in choice.reason for word in ("driver", "capability", "extra"))


def pool(*gpus: Gpu) -> Gpus:
    return Gpus(tuple(replace(gpu, index=i) for i, gpu in enumerate(gpus)), (13, 0))


@pytest.mark.parametrize(
    ("requested", "num_gpus", "indices"), [("auto", 2, (0, 1)), ("cuda", 3, (0, 1, 2)), ("cuda:2,0", 9, (2, 0))]
)
def test_several_gpus(requested: str, num_gpus: int, indices: tuple[int, ...]) -> None:
    found = pool(H100, H100, H100)
    choice = choose_device(requested, num_gpus=num_gpus, find=lambda: found, installed=lambda module: True)
    assert tuple(gpu.index for gpu in choice.gpus) == indices
    assert choice.missing == ""
    assert choice.reason == ("2 × NVIDIA H100 found" if requested == "auto" else "requested")


TOO_FEW = [
    ("cuda", 2, pool(H100), "resources.accelerator names 2 GPUs, of which 1 can be used: there is no GPU 1"),
    ("cuda", 2, pool(H100, V100), "resources.accelerator names 2 GPUs, of which 1 can be used: Tesla V100 has compute"),
    ("cuda:0,3", 1, pool(H100), "the option names 2 GPUs, of which 1 can be used: there is no GPU 3; those visible"),
    ("cuda", 2, NONE, "resources.accelerator names 2 GPUs, of which 0 can be used: no NVIDIA driver"),
]


@pytest.mark.parametrize(("requested", "num_gpus", "found", "problem"), TOO_FEW)
def test_too_few_gpus(requested: str, num_gpus: int, found: Gpus, problem: str) -> None:
    with pytest.raises(BackendError) as caught:
        choose_device(requested, num_gpus=num_gpus, find=lambda: found, installed=lambda module: True)
    assert f"--device {requested} is not available: {problem}" in caught.value.message


def test_auto_takes_the_gpus_that_are_there() -> None:
    choice = choose_device("auto", num_gpus=4, find=lambda: pool(H100, H100), installed=lambda module: True)
    assert len(choice.gpus) == 2
    assert choice.missing.startswith("there is no GPU 2; those visible are 0 (NVIDIA H100), 1 (NVIDIA H100)")
    assert choice.missing.endswith("2 of 4 GPUs run batches")


@pytest.mark.parametrize("text", ["cuda:0,0", "cuda:", "cuda:1,", "cuda:-1", "gpu", "cpu:0", "cuda:0 ,1"])
def test_options_that_are_no_device(text: str) -> None:
    with pytest.raises(ValueError, match="such as cuda:0,1"):
        device_choice(text)


@dataclass(frozen=True)
class Options:
    index: int = 0
    kernel_cache: Path | None = None


def load(engine_dir: EngineDir, options: Options) -> Engine:
    info = EngineInfo(backend="cuda", device="cuda", precision="float16", isa="NVIDIA H100", index=options.index)
    return SimpleNamespace(info=info)  # type: ignore[return-value]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, and a backend for them that loads nothing."""
    choose = partial(choose_device, find=lambda: pool(H100, H100), installed=lambda module: True)
    module = SimpleNamespace(Options=Options, load=load, reads=lambda kind, storage: True)
    monkeypatch.setattr(backends, "choose_device", choose)
    monkeypatch.setattr(backends, "import_module", lambda name: module)


@pytest.mark.usefixtures("found")
def test_an_engine_for_each_gpu(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        engines = backends.load_engines(random_engine_dir(small_spec()), num_gpus=2)
    assert [engine.info.place for engine in engines] == ["cuda:0", "cuda:1"]
    assert "engine: cuda on cuda:1, NVIDIA H100, float16 (2 × NVIDIA H100 found)" in caplog.text
    [second] = backends.load_engines(random_engine_dir(small_spec()), device="cuda:1")
    assert second.info.index == 1
    assert len(backends.load_engines(random_engine_dir(small_spec()), num_gpus=3)) == 2
    assert "resources.accelerator names 3 GPUs: there is no GPU 2" in caplog.text


@pytest.mark.usefixtures("found")
def test_one_engine_of_several_gpus(caplog: pytest.LogCaptureFixture) -> None:
    assert backends.load_engine(random_engine_dir(small_spec()), device="cuda:1,0").info.index == 1
    assert "this runs on cuda:1 only; `bei serve` uses all 2 GPUs" in caplog.text


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(
    ("device", "backend", "imported"),
    [
        ("auto", None, True),
        ("cuda:1", None, True),
        ("cuda", "cuda", True),
        ("cpu", None, False),
        ("auto", "native", False),
        ("cuda:7", None, False),
    ],
)
def test_torch_is_imported_early_if_a_gpu_is_used(
    device: str, backend: str | None, imported: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread, whose failure is left to the one that needs the import."""
    names: Queue[str] = Queue()

    def fail(name: str) -> None:
        names.put(name)
        raise ImportError(name)

    monkeypatch.setattr(backends, "import_module", fail)
    backends.preload(device, backend)
    if imported:
        assert names.get(timeout=5) == "openbei.backends.cuda"
    else:
        assert names.empty()
