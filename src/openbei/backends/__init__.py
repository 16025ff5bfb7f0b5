"""Backends: interpreters of an engine directory. One file per backend; the table has their names and devices."""

import logging
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any, Protocol, cast

from openbei.backends.device_choice import Choice, choose_device
from openbei.backends.threads import effective_threads
from openbei.backends.validation import check_engine
from openbei.batch import Engine
from openbei.device import Device, DeviceChoice
from openbei.engine_dir import EngineDir
from openbei.errors import BackendError
from openbei.formats.storage import Storage
from openbei.shapes import TensorKind, kind_of

__all__ = ["BACKENDS", "effective_threads", "load_engine"]

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


def load_engine(
    engine_dir: EngineDir,
    *,
    device: DeviceChoice = "auto",
    backend: str | None = None,
    defaults: Mapping[str, str | int | None] = MappingProxyType({}),
    **options: str | int | None,
) -> Engine:
    """Load an engine directory into a backend, by default the fastest one of the device. Logs the choice.

    `options` are those of the backend, such as `isa` and `threads` of the native backend; None means the default.
    `defaults` are options that apply only to backends that have them; others log a warning.

    Raises BackendError for a device, a backend, an option or an instruction set that is unknown or not available, and
    for tensors that the backend does not read; EngineDirError if manifest and tensors do not match.
    """
    check_engine(engine_dir)
    name, choice = _choose(device, backend)
    module = cast(_Backend, import_module(BACKENDS[name][1]))
    known = [field.name for field in fields(module.Options)]
    options_set = {option: value for option, value in options.items() if value is not None}
    for option, value in defaults.items():
        if value is not None and option not in known:
            _log.warning("the option %s has no effect on the %s backend", option, name)
        elif value is not None:
            options_set.setdefault(option, value)
    if choice.gpu:
        options_set["index"] = choice.gpu.index
    if unknown := options_set.keys() - known:
        raise BackendError(
            f"the {name} backend has no option {min(unknown)}", hint=f"its options: {', '.join(known) or 'none'}"
        )
    _check_readable(engine_dir, name, module)
    engine = module.load(engine_dir, module.Options(**options_set))
    _log.log(logging.WARNING if name == "reference" else logging.INFO, "engine: %s (%s)", engine.info, choice.reason)
    return engine


def _choose(device: DeviceChoice, backend: str | None) -> tuple[str, Choice]:
    """The name of the backend, and the device with the reason for the choice."""
    if backend is not None:
        if backend not in BACKENDS:
            raise BackendError(f"there is no backend {backend!r}", hint=f"backends: {', '.join(BACKENDS)}")
        own_device = BACKENDS[backend][0]
        if device != "auto" and device.partition(":")[0] != own_device:
            raise BackendError(f"the {backend} backend does not run on --device {device}", hint="leave one of them out")
        return backend, choose_device(own_device if device == "auto" else device)._replace(reason="requested")
    choice = choose_device(device)
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
                hint="build it again with `bei build` for this device",
            )
