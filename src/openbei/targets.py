"""Resolution of a TARGET, such as a Hub id, to an opened engine directory, which is built if necessary."""

import logging
import os
from pathlib import Path

import msgspec

from openbei.batch import Engine
from openbei.config import (
    Conversion,
    Deployment,
    Environment,
    PoolingChoice,
    deployment_for_model,
    load_config,
    load_variables,
    with_dtype,
)
from openbei.device import DeviceChoice
from openbei.engine_dir import EngineDir, Manifest, is_engine_dir, open_engine_dir
from openbei.errors import ConfigError, EngineDirError

_log = logging.getLogger(__name__)


def read_environment(*targets: str) -> Environment:
    """The environment of this process, which overrides the variables of configs among the targets.

    Raises ConfigError, also if two configs have different values for a variable.
    """
    merged: dict[str, str] = {}
    for path in (Path(target) for target in targets if _is_config(target)):
        for name, value in load_variables(path).items():
            if merged.setdefault(name, value) != value:
                raise ConfigError(
                    f"{path}: environment_variables.{name} differs from that of another config",
                    hint="one server has one set of options: use the same value, or serve the models apart",
                )
    return Environment.read(os.environ, merged)


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
    force: bool = False,
    convert: Conversion | None = None,
    route: str | None = None,
    pooling: PoolingChoice | None = None,
) -> EngineDir:
    """Open the engine directory of a TARGET and verify its hashes. Builds it if it is missing or stale, or if `force`.

    `convert`, `route` (that of a Router) and `pooling` override the config's. Raises what building and opening raise.
    """
    if is_engine_dir(Path(target)):
        engine_dir = open_engine_dir(Path(target))
    else:
        chosen: dict[str, object] = {"convert": convert, "route": route, "pooling": pooling}
        engine_dir = _up_to_date(_deployment(target, environment, chosen), environment, out, force=force)
    _warn_if_cut(engine_dir.manifest)
    return engine_dir


def load(
    engine_dir: EngineDir,
    environment: Environment,
    *,
    device: DeviceChoice | None = None,
    backend: str | None = None,
    isa: str | None = None,
    threads: int | None = None,
) -> Engine:
    """Load the engine; arguments override the environment. Raises BackendError."""
    from openbei.backends import load_engine

    return load_engine(
        engine_dir,
        device=device or environment.device or "auto",
        backend=backend or environment.backend,
        isa=isa or environment.isa,
        threads=threads or environment.threads,
    )


def _deployment(target: str, environment: Environment, chosen: dict[str, object]) -> Deployment:
    """The deployment of a TARGET, changed by the command line or else by the environment of the process."""
    deployment = with_dtype(deployment_of(target), environment.dtype)
    decided = {name: value or getattr(environment, name) for name, value in chosen.items()}
    return msgspec.structs.replace(deployment, **{name: value for name, value in decided.items() if value})


def _warn_if_cut(manifest: Manifest) -> None:
    """Log if the token budget of batches truncates texts that the model could read."""
    limit = next((decision for decision in manifest.report if decision.subject == "max_sequence_tokens"), None)
    if limit and limit.reason.startswith("max_num_tokens"):
        _log.warning(
            "%s reads longer texts, but max_num_tokens cuts them to %s tokens; raise trt_llm.build.max_num_tokens of "
            "the config to read on",
            manifest.model_name,
            limit.decision,
        )


def _up_to_date(deployment: Deployment, environment: Environment, out: Path | None, *, force: bool) -> EngineDir:
    """The engine directory of a deployment, which is built if it is missing or stale, or if `force`."""
    from openbei.build import build, default_engine_path, render_report
    from openbei.progress import Bar

    path = out or default_engine_path(deployment, environment)
    engine_dir, reason = _usable(path, deployment, environment)
    if engine_dir is None or force:
        _log.info("building %s: %s", path, reason or "asked for")
        with Bar() as bar:
            engine_dir = build(deployment, path, environment=environment, progress=bar.step)
        _log.info("%s", render_report(engine_dir.manifest))
    else:
        _log.info("%s is up to date", path)
    return engine_dir


def _usable(path: Path, deployment: Deployment, environment: Environment) -> tuple[EngineDir | None, str | None]:
    """The engine directory at `path` if it can be served, or else the reason for a build."""
    from openbei.build import why_stale

    if not path.exists():
        return None, "there is none"
    try:
        engine_dir = open_engine_dir(path)
    except EngineDirError as error:
        return None, error.message
    reason = why_stale(engine_dir, deployment, environment)
    return (None, reason) if reason else (engine_dir, None)
