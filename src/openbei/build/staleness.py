"""Whether an engine directory still is what its config and its checkpoint would give; and where it goes by default."""

import hashlib
import re
from pathlib import Path

import msgspec

from openbei.checkpoints import fetch_checkpoint
from openbei.config import Deployment, Environment
from openbei.engine_dir import EngineDir
from openbei.errors import CheckpointError


def content_hash(deployment: Deployment, folder: Path) -> str:
    """`<hash of the config>-<hash of the checkpoint>`, cheap enough for every start.

    The config counts with what it decides, not with its spelling. JSON files and templates count with their content;
    weights with name and size and, as they are large, with what stands for their content: the name of the blob in the
    Hub's cache (content-addressed), else the time of modification.
    """
    checkpoint = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".jinja"):
            stamp = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".safetensors":
            status = path.stat()
            stamp = f"{status.st_size} {path.resolve().name if path.is_symlink() else status.st_mtime_ns}"
        else:
            continue
        checkpoint.update(f"{path.relative_to(folder)}\0{stamp}\0".encode())
    return f"{_config_hash(deployment)}-{checkpoint.hexdigest()[:32]}"


def why_stale(engine_dir: EngineDir, deployment: Deployment, environment: Environment) -> str | None:
    """Why an engine directory must be built again, or None. The Hub is not asked: only its cache counts.

    A checkpoint that is gone says nothing against the engine that was built from it.
    """
    config, _, checkpoint = engine_dir.manifest.content_hash.partition("-")
    if config != _config_hash(deployment):
        return "the config has changed"
    offline = msgspec.structs.replace(environment, hf_offline=True)
    try:
        folder = fetch_checkpoint(deployment.repository, offline)
    except CheckpointError:
        return None
    return None if content_hash(deployment, folder).endswith(checkpoint) else "the checkpoint has changed"


def default_engine_path(deployment: Deployment, environment: Environment) -> Path:
    """Where a build without --out writes: under the cache, one directory for each config that decides differently."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", deployment.model_name).strip("-.") or "model"
    return environment.cache / f"{name[:80]}-{deployment.dtype}-{_config_hash(deployment)[:8]}"


def _config_hash(deployment: Deployment) -> str:
    decided = msgspec.structs.replace(deployment, notes=())
    return hashlib.sha256(msgspec.json.encode(decided)).hexdigest()[:32]
