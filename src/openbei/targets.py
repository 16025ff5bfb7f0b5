"""Resolution of a TARGET, such as a Hub id, to an opened engine directory, which is built if necessary."""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from openbei.batch import Engine
from openbei.config import (
    Decision,
    Deployment,
    Environment,
    deployment_for_model,
    load_config,
    load_num_gpus,
    load_variables,
)
from openbei.device import Device, DeviceChoice, device_of
from openbei.engine_dir import Accuracy, EngineDir, Manifest, is_engine_dir, open_engine_dir
from openbei.errors import BackendError, ConfigError, EngineDirError
from openbei.quantization import NO_QUANTIZATION
from openbei.spec import DType

if TYPE_CHECKING:
    from openbei.accuracy import Texts
    from openbei.formats.format import Floats

Measure = Callable[[EngineDir, EngineDir], Accuracy]
"""Compares a quantized engine directory, the second one, with the original."""

OVERRIDES = ("quantization", "convert", "answer_tokens", "route", "pooling")
"""Fields of a deployment that options and the environment of the process override."""

_log = logging.getLogger(__name__)


def read_environment(*targets: str) -> Environment:
    """The environment of this process, which overrides the variables of configs among the targets.

    `num_gpus` is the largest number of GPUs that one of them names. Raises ConfigError, also if two configs have
    different values for a variable.
    """
    merged: dict[str, str] = {}
    configs = [Path(target) for target in targets if _is_config(target)]
    for path in configs:
        for name, value in load_variables(path).items():
            if merged.setdefault(name, value) != value:
                raise ConfigError(
                    f"{path}: environment_variables.{name} differs from that of another config",
                    hint="one server has one set of options: use the same value, or serve the models separately",
                )
    environment = Environment.read(os.environ, merged)
    return msgspec.structs.replace(environment, num_gpus=max([1, *map(load_num_gpus, configs)]))


def deployment_of(target: str) -> Deployment:
    """The deployment of a config.yaml, or of a model in a folder or on the Hub. Raises ConfigError."""
    return load_config(Path(target)) if _is_config(target) else deployment_for_model(target)


def _is_config(target: str) -> bool:
    return target.endswith((".yaml", ".yml"))


def engine_dir_of(
    target: str,
    environment: Environment,
    out: Path | None = None,
    *,
    device: DeviceChoice | None = None,
    backend: str | None = None,
    force: bool = False,
    verify: bool = True,
    overrides: Mapping[str, str | None] = MappingProxyType({}),
    texts: Path | None = None,
    min_cosine: float | None = None,
) -> EngineDir:
    """Open the engine directory of a TARGET. Builds it if it is missing or stale, or if `force`.

    `verify` checks the hashes of a directory that was built before; without it, only sizes are checked.
    It is built for `device`, by default the environment's or else this machine's; this machine need not have it.
    `overrides` are fields of the deployment that override the config's, unless None. The accuracy of a quantized build
    is measured on `texts`, one per line, or else on texts that come with openbei; the build fails below `min_cosine`.
    Raises what building and opening raise.
    """
    if is_engine_dir(Path(target)):
        engine_dir = open_engine_dir(Path(target), verify=verify)
    elif artifact := _artifact(target, environment):
        if out or force or any(overrides.values()):
            raise ConfigError(f"{target} is an engine directory already", hint="remove the build options")
        engine_dir = open_engine_dir(artifact, verify=verify)
    else:
        deployment = _deployment(target, environment, overrides)
        chosen = device or environment.device or "auto"
        built_for = _device(chosen, backend or environment.backend)
        deployment = msgspec.structs.replace(deployment, target=built_for)
        measure = None
        if deployment.quantization != NO_QUANTIZATION:
            measured_on = chosen if device_of(chosen) == built_for else built_for
            deployment, measure = _measured(deployment, environment, measured_on, texts, min_cosine)
        engine_dir = _up_to_date(deployment, environment, out, force=force, verify=verify, measure=measure)
    _warn_if_truncated(engine_dir.manifest)
    return engine_dir


def preload(environment: Environment, *, device: DeviceChoice | None = None, backend: str | None = None) -> None:
    """Start importing what loading an engine needs, while its directory is opened. Arguments as for `load`."""
    from openbei import backends

    backends.preload(device or environment.device or "auto", backend or environment.backend)


def load(
    engine_dir: EngineDir,
    environment: Environment,
    *,
    device: DeviceChoice | None = None,
    backend: str | None = None,
    isa: str | None = None,
    threads: int | None = None,
) -> Engine:
    """Load one engine; arguments override the environment. Raises BackendError."""
    return _load(engine_dir, environment, device, backend, isa, threads, max_engines=1)[0]


def load_all(
    engine_dir: EngineDir,
    environment: Environment,
    *,
    device: DeviceChoice | None = None,
    backend: str | None = None,
    isa: str | None = None,
    threads: int | None = None,
) -> tuple[Engine, ...]:
    """Load an engine for each GPU of the device option or the config; without GPUs, one engine. See `load`."""
    return _load(engine_dir, environment, device, backend, isa, threads, num_gpus=environment.num_gpus)


def _load(
    engine_dir: EngineDir,
    environment: Environment,
    device: DeviceChoice | None,
    backend: str | None,
    isa: str | None,
    threads: int | None,
    **counts: int,
) -> tuple[Engine, ...]:
    from openbei.backends import load_engines

    return load_engines(
        engine_dir,
        device=device or environment.device or "auto",
        backend=backend or environment.backend,
        defaults={"isa": isa or environment.isa, "threads": threads or environment.threads},
        kernel_cache=environment.kernel_cache,
        **counts,
    )


def _device(device: DeviceChoice, backend: str | None) -> Device:
    """The device that a device option or a backend names, or else the fastest one of this machine."""
    from openbei.backends import BACKENDS
    from openbei.backends.device_choice import choose_device

    if named := device_of(device):
        return named
    return BACKENDS[backend][0] if backend in BACKENDS else choose_device("auto").device


def _measured(
    deployment: Deployment,
    environment: Environment,
    device: DeviceChoice,
    texts: Path | None,
    min_cosine: float | None,
) -> tuple[Deployment, Measure | None]:
    """The deployment of a quantized build, and a function that measures its accuracy on a device.

    Without the GPU, the accuracy of a build for GPUs is not measured, and a note says so; with `min_cosine`, that is a
    BackendError. The texts that come with openbei are only read by a build, not at every start. Raises InputError if
    other texts cannot be used.
    """
    from openbei.backends.device_choice import choose_device

    own_texts = _read_texts(texts) if texts else None
    try:
        choose_device(device)
    except BackendError as error:
        if min_cosine is not None:
            raise
        note = Decision("accuracy", "not measured", f"measuring needs a GPU: {error.message}", is_warning=True)
        return msgspec.structs.replace(deployment, notes=(*deployment.notes, note)), None

    def measure(original: EngineDir, quantized: EngineDir) -> Accuracy:
        from openbei import accuracy

        return accuracy.measure(
            original,
            quantized,
            load=partial(load, environment=environment, device=device),
            texts=own_texts or _read_texts(None),
            min_cosine=min_cosine,
        )

    return deployment, measure


def _calibrate(engine_dir: EngineDir) -> Mapping[str, "Floats"]:
    """Calibrate a quantized build with some of the texts that come with openbei. Raises CheckpointError."""
    from openbei.backends.recording import RecordingEngine
    from openbei.calibration import calibrate

    return calibrate(engine_dir, RecordingEngine(engine_dir), _read_texts(None).sample())


def _read_texts(path: Path | None) -> "Texts":
    from openbei.accuracy import Texts

    return Texts.read(path)


def _artifact(target: str, environment: Environment) -> Path | None:
    """The local copy of an engine directory in an object store or on the Hub; None for any other TARGET."""
    from openbei.artifacts import is_url, pull
    from openbei.progress import Bar

    if not is_url(target):
        return None
    with Bar() as bar:
        return pull(target, environment, lambda done, total: bar.step("fetch", done, total))


def _deployment(target: str, environment: Environment, overrides: Mapping[str, str | None]) -> Deployment:
    """The deployment of a TARGET, changed by the command line or else by the environment of the process."""
    deployment = _with_dtype(deployment_of(target), environment.dtype)
    if not _is_config(target):
        named = msgspec.structs.replace(deployment.repository, runtime_secret_name=environment.secret_name)
        deployment = msgspec.structs.replace(deployment, repository=named)
    decided = {name: overrides.get(name) or getattr(environment, name) for name in OVERRIDES}
    return msgspec.structs.replace(deployment, **{name: value for name, value in decided.items() if value})


def _with_dtype(deployment: Deployment, dtype: DType | None) -> Deployment:
    """Override the deployment's dtype by that of the environment, if there is one."""
    if dtype is None:
        return deployment
    override = Decision("dtype", dtype, "the environment variable DTYPE")
    notes = (note for note in deployment.notes if note.subject != "dtype")
    return msgspec.structs.replace(deployment, dtype=dtype, notes=(override, *notes))


def _warn_if_truncated(manifest: Manifest) -> None:
    """Log a warning if the maximum tokens per batch truncate texts that the model could read."""
    limit = next((decision for decision in manifest.report if decision.subject == "max_sequence_tokens"), None)
    if limit and limit.reason.startswith("max_num_tokens"):
        _log.warning(
            "%s reads longer texts, but max_num_tokens truncates them to %s tokens; raise "
            "trt_llm.build.max_num_tokens in the config to use the whole length",
            manifest.model_name,
            limit.decision,
        )


def _up_to_date(
    deployment: Deployment,
    environment: Environment,
    out: Path | None,
    *,
    force: bool,
    verify: bool,
    measure: Measure | None,
) -> EngineDir:
    """The engine directory of a deployment, which is built if it is missing or stale, or if `force`."""
    from openbei.build import build, default_engine_path, render_report
    from openbei.progress import Bar

    path = out or default_engine_path(deployment, environment)
    engine_dir, reason = _usable(path, deployment, environment, verify)
    if engine_dir is None or force:
        _log.info("building %s: %s", path, reason or "requested")
        with Bar() as bar:
            engine_dir = build(
                deployment, path, environment=environment, progress=bar.step, measure=measure, calibrate=_calibrate
            )
            _compile_kernels(engine_dir, deployment, environment, bar.step)
        _log.info("%s", render_report(engine_dir.manifest))
    else:
        _log.info("%s is up to date", path)
    return engine_dir


def _compile_kernels(
    engine_dir: EngineDir, deployment: Deployment, environment: Environment, progress: Callable[[str, int, int], None]
) -> None:
    """Compile the kernels of a build for GPUs, or log why that is left to the first start."""
    if engine_dir.manifest.target != "cuda":
        return
    from openbei.backends import compile_kernels

    missing = compile_kernels(
        engine_dir, deployment.accelerator, environment.kernel_cache, partial(progress, "compile")
    )
    if missing:
        _log.info("kernels will be compiled at the first start: %s", missing)


def _usable(
    path: Path, deployment: Deployment, environment: Environment, verify: bool
) -> tuple[EngineDir | None, str | None]:
    """The engine directory at `path` if it can be served, or else the reason for a build."""
    from openbei.build import why_stale

    if not path.exists():
        return None, "it does not exist"
    try:
        engine_dir = open_engine_dir(path, verify=verify)
    except EngineDirError as error:
        return None, error.message
    reason = why_stale(engine_dir, deployment, environment)
    return (None, reason) if reason else (engine_dir, None)
