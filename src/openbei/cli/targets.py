"""Resolution of a TARGET on the command line to an opened engine directory."""

import logging
import os
from pathlib import Path

import msgspec

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
from openbei.engine_dir import EngineDir, Manifest, is_engine_dir, open_engine_dir
from openbei.errors import ConfigError, EngineDirError

_log = logging.getLogger(__name__)


def read_environment(target: str = "") -> Environment:
    """The environment of this process, which overrides the variables of a config. Raises ConfigError."""
    return Environment.read(os.environ, load_variables(Path(target)) if _is_config(target) else None)


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
    elif artifact := _artifact(target, environment):
        if out or force or convert or route or pooling:
            raise ConfigError(
                f"{target} is an engine directory already", hint="options of a build have no effect on it"
            )
        engine_dir = open_engine_dir(artifact)
    else:
        chosen: dict[str, object] = {"convert": convert, "route": route, "pooling": pooling}
        engine_dir = _up_to_date(_deployment(target, environment, chosen), environment, out, force=force)
    _warn_if_cut(engine_dir.manifest)
    return engine_dir


def _artifact(target: str, environment: Environment) -> Path | None:
    """The local copy of an engine directory in an object store or on the Hub; None for any other TARGET."""
    from openbei.artifacts import is_url, pull
    from openbei.cli.progress import Bar

    if not is_url(target):
        return None
    with Bar() as bar:
        return pull(target, environment, lambda done, total: bar.step("fetch", done, total))


def _deployment(target: str, environment: Environment, chosen: dict[str, object]) -> Deployment:
    """The deployment of a TARGET, changed by the command line or else by the environment of the process."""
    deployment = with_dtype(deployment_of(target), environment.dtype)
    decided = {name: value or getattr(environment, name) for name, value in chosen.items()}
    if not _is_config(target):
        named = msgspec.structs.replace(deployment.repository, runtime_secret_name=environment.secret_name)
        deployment = msgspec.structs.replace(deployment, repository=named)
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
    from openbei.cli.progress import Bar

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
