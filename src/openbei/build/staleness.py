"""Checks whether an engine directory is up to date with its config and checkpoint, and the default path of builds."""

import hashlib
import re
from pathlib import Path

import msgspec

from openbei.accelerators import parse_accelerator
from openbei.checkpoints import fetch_checkpoint, fingerprint
from openbei.config import Deployment, Environment
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError
from openbei.locations import public_url


def content_hash(deployment: Deployment, folder: Path) -> str:
    """`<hash of the config>-<fingerprint of the checkpoint>`, cheap enough for every start.

    The hash depends on the config's decisions, not on its formatting.
    """
    return f"{_config_hash(deployment)}-{fingerprint(deployment.repository, folder)}"


def why_stale(engine_dir: EngineDir, deployment: Deployment, environment: Environment) -> str | None:
    """The reason that an engine directory must be rebuilt, or None if it is up to date.

    Nothing is downloaded. A checkpoint that no longer exists does not make its engine outdated.
    """
    config, _, checkpoint = engine_dir.manifest.content_hash.partition("-")
    if config != _config_hash(deployment):
        return "the config has changed"
    try:
        folder = fetch_checkpoint(deployment.repository, environment, is_offline=True)
    except CheckpointError:
        return None
    return None if fingerprint(deployment.repository, folder) == checkpoint else "the checkpoint has changed"


def default_engine_path(deployment: Deployment, environment: Environment) -> Path:
    """The default path of a build without --out: a directory in the cache for each config with different decisions."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", deployment.model_name).strip("-.") or "model"
    return environment.cache / f"{name[:80]}-{deployment.dtype or deployment.target}-{_config_hash(deployment)[:8]}"


def _config_hash(deployment: Deployment) -> str:
    repository = msgspec.structs.replace(
        deployment.repository, repo=public_url(deployment.repository.repo), runtime_secret_name=""
    )
    # A build for CPUs does not depend on the accelerator, and none depends on the number of GPUs.
    gpu = (
        parse_accelerator(deployment.accelerator)[0] if deployment.accelerator and deployment.target == "cuda" else None
    )
    decided = msgspec.structs.replace(deployment, repository=repository, accelerator=gpu, notes=())
    return hashlib.sha256(msgspec.json.encode(decided)).hexdigest()[:32]
