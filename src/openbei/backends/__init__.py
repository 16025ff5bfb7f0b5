"""Backends: interpreters of an engine directory. One file per backend; the table has their names and devices."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from types import MappingProxyType
from typing import Any, Protocol, cast

from openbei.accelerators import ACCELERATORS, parse_accelerator
from openbei.backends.device_choice import EXTRA, Choice, choose_device, is_installed
from openbei.backends.threads import effective_threads
from openbei.backends.validation import check_engine
from openbei.batch import Engine
from openbei.device import Device, DeviceChoice, device_of
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError
from openbei.formats.storage import Storage
from openbei.shapes import TensorKind, kind_of

__all__ = ["BACKENDS", "compile_kernels", "effective_threads", "load_engine", "load_engines", "preload"]

BACKENDS: dict[str, tuple[Device, str]] = {
    "cuda": ("cuda", "openbei.backends.cuda"),
    "native": ("cpu", "openbei.backends.native"),
    "reference": ("cpu", "openbei.backends.reference"),
}

_log = logging.getLogger(__name__)


class _Backend(Protocol):
    """The interface of a backend's file."""

    Options: type[Any]
    """A frozen dataclass of the backend's options; each field has a default."""

    def reads(self, kind: TensorKind, storage: Storage) -> bool:
        """Whether the backend reads tensors of a kind in a number format and a layout."""

    def load(self, engine_dir: EngineDir, options: object) -> Engine:
        """Load an engine directory whose tensors the backend reads. Raises BackendError."""


def load_engine(engine_dir: EngineDir, **options: Any) -> Engine:  # noqa: ANN401
    """Load an engine directory into one engine. See `load_engines`; only the first of several GPUs is used."""
    return load_engines(engine_dir, max_engines=1, **options)[0]


def load_engines(
    engine_dir: EngineDir,
    *,
    device: DeviceChoice = "auto",
    backend: str | None = None,
    num_gpus: int = 1,
    max_engines: int | None = None,
    kernel_cache: Path | None = None,
    defaults: Mapping[str, str | int | None] = MappingProxyType({}),
    **options: str | int | None,
) -> tuple[Engine, ...]:
    """Load an engine directory into a backend, by default the fastest one of the device. Logs the choice.

    There is an engine for each GPU of the device option, or else for each of the first `num_gpus`, up to `max_engines`.
    `kernel_cache` is the folder of compiled GPU kernels. `options` are those of the backend, such as `isa` and
    `threads` of the native backend; None means the default.
    `defaults` are options that apply only to backends that have them; others log a warning.

    Raises BackendError for a device, a backend, an option or an instruction set that is unknown or not available, and
    for tensors that the backend does not read; EngineDirError if manifest and tensors do not match.
    """
    check_engine(engine_dir)
    name, choice = _choose(device, backend, num_gpus)
    module = cast(_Backend, import_module(BACKENDS[name][1]))
    known = [field.name for field in fields(module.Options)]
    options_set: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    for option, value in defaults.items():
        if value is not None and option not in known:
            _log.warning("the option %s has no effect on the %s backend", option, name)
        elif value is not None:
            options_set.setdefault(option, value)
    if unknown := options_set.keys() - known:
        raise BackendError(
            f"the {name} backend has no option {min(unknown)}", hint=f"its options: {', '.join(known) or 'none'}"
        )
    _check_readable(engine_dir, name, module)
    if choice.missing:
        _log.warning("resources.accelerator names %d GPUs: %s", num_gpus, choice.missing)
    own: list[dict[str, Any]] = [{"index": gpu.index, "kernel_cache": kernel_cache} for gpu in choice.gpus] or [{}]
    each = [options_set | one for one in own]
    if len(each[:max_engines]) < len(each):
        _log.warning("this runs on cuda:%d only; `bei serve` uses all %d GPUs", choice.gpus[0].index, len(each))
        each = each[:max_engines]
    if len(each) == 1:
        engines: tuple[Engine, ...] = (module.load(engine_dir, module.Options(**each[0])),)
    else:
        with ThreadPoolExecutor() as threads:
            engines = tuple(threads.map(lambda one: module.load(engine_dir, module.Options(**one)), each))
    for engine in engines:
        level = logging.WARNING if name == "reference" else logging.INFO
        _log.log(level, "engine: %s (%s)", engine.info, choice.reason)
    return engines


def preload(device: DeviceChoice, backend: str | None) -> None:
    """Start importing torch if a GPU will be used. It takes seconds, while the engine directory is verified."""
    with suppress(BackendError):  # loading raises it
        if backend in (None, "cuda") and choose_device(device).device == "cuda":
            Thread(target=_import, args=(BACKENDS["cuda"][1],), name="import", daemon=True).start()


def _import(module: str) -> None:
    with suppress(Exception):  # loading imports it again, and raises it
        import_module(module)


def compile_kernels(
    engine_dir: EngineDir, accelerator: str | None, folder: Path, progress: Callable[[int, int], None]
) -> str:
    """Compile the kernels of an engine directory for a config's accelerator, or else for this machine's GPU.

    Returns an empty string, or why nothing was compiled.
    """
    if missing := [module for module in EXTRA if not is_installed(module)]:
        return f"the extra cuda is not installed: no {' and no '.join(missing)}"
    if accelerator:
        capability = ACCELERATORS[parse_accelerator(accelerator)[0]]
    elif gpus := choose_device("auto").gpus:
        capability = gpus[0].capability
    else:
        return "there is no GPU, and the config names none in resources.accelerator"
    import_module(BACKENDS["cuda"][1]).compile_kernels(engine_dir, capability, folder, progress)
    return ""


def _choose(device: DeviceChoice, backend: str | None, num_gpus: int) -> tuple[str, Choice]:
    """The name of the backend, and the device with the reason for the choice."""
    if backend is not None:
        if backend not in BACKENDS:
            raise BackendError(f"there is no backend {backend!r}", hint=f"backends: {', '.join(BACKENDS)}")
        own_device = BACKENDS[backend][0]
        if device_of(device) not in (None, own_device):
            raise BackendError(f"the {backend} backend does not run on --device {device}", hint="leave one of them out")
        choice = choose_device(own_device if device == "auto" else device, num_gpus=num_gpus)
        return backend, choice._replace(reason="requested")
    choice = choose_device(device, num_gpus=num_gpus)
    if choice.device == "cuda":
        return "cuda", choice
    if find_spec("openbei._native") is not None:
        return "native", choice
    return "reference", choice._replace(reason="slow: this installation has no compiled module")


def _check_readable(engine_dir: EngineDir, name: str, module: _Backend) -> None:
    """Raise BackendError unless a backend reads all tensors of an engine directory."""
    manifest = engine_dir.manifest
    for tensor, storage in manifest.storage.items():
        if not module.reads(kind_of(tensor), storage):
            raise BackendError(
                f"{engine_dir.path} was built for {manifest.target}: its tensor {tensor} is {storage.format} in "
                f"{storage.layout}, which the {name} backend does not read",
                hint=f"build it again with `bei build --device {BACKENDS[name][0]}`",
            )
