"""Checkpoint sources, one per file, and the checks of a fetched checkpoint."""

from pathlib import Path

from openbei.checkpoints.containment import check_contained
from openbei.checkpoints.hub import Hub
from openbei.checkpoints.local import LocalFolder
from openbei.checkpoints.object_store import ObjectStore
from openbei.checkpoints.remote_url import RemoteUrl
from openbei.checkpoints.source import CheckpointSource, Progress
from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.truss import CheckpointRepository, Source

SOURCES: dict[Source, CheckpointSource] = {
    "HF": Hub(),
    "LOCAL": LocalFolder(),
    "S3": ObjectStore("S3"),
    "GCS": ObjectStore("GCS"),
    "AZURE": ObjectStore("AZURE"),
    "REMOTE_URL": RemoteUrl(),
}

REFUSED_SOURCES: dict[Source, str] = {
    "BASETEN_TRAINING": "only Baseten's own platform can read the checkpoints of its training jobs",
}
"""Source → why it is refused."""

MODEL_FILES = ("config.json", "modules.json", "adapter_config.json")
"""Every model has one of these. Adapters are refused later, with a separate message."""

_READS = "openbei reads safetensors with a config.json"
OTHER_FORMATS = {
    ".gguf": f"GGUF is not supported; {_READS}",
    ".onnx": f"ONNX is not supported; {_READS}",
    "engine.plan": f"TensorRT engines are not supported; {_READS}",
}
"""File name ending -> hint."""

LFS_POINTER, MAX_POINTER_BYTES = b"version https://git-lfs", 1024


def fetch_checkpoint(
    repository: CheckpointRepository,
    environment: Environment,
    *,
    is_offline: bool | None = None,
    progress: Progress = lambda done, total: None,
) -> Path:
    """The local folder of a checkpoint, downloaded if necessary; `is_offline` None is the environment's setting.

    `progress` is called with bytes done and bytes in total, by sources without progress bars of their own. Raises
    DownloadError, and CheckpointError for a refused source or a folder that is not a model, links to other folders, or
    contains special files or Git LFS pointers.
    """
    source = SOURCES.get(repository.source)
    if source is None:
        raise CheckpointError(
            f"checkpoint_repository.source is {repository.source}: {REFUSED_SOURCES[repository.source]}",
            hint="download the checkpoint and use LOCAL",
        )
    is_offline = environment.is_offline if is_offline is None else is_offline
    folder = source.fetch(repository, environment, is_offline=is_offline, progress=progress)
    check_contained(folder)
    _check_model(folder)
    _check_pointers(folder)
    return folder


def fingerprint(repository: CheckpointRepository, folder: Path) -> str:
    """A fingerprint of a fetched checkpoint, to detect changes."""
    return SOURCES[repository.source].fingerprint(folder)


def _check_model(folder: Path) -> None:
    """Raise CheckpointError if the folder is not a model of transformers or sentence-transformers."""
    if any((folder / name).exists() for name in MODEL_FILES):
        return
    subfolders = sorted(path.parent for name in MODEL_FILES[:2] for path in folder.glob(f"*/{name}"))
    hint = next((hint for ending, hint in OTHER_FORMATS.items() if any(folder.glob(f"*{ending}"))), None)
    if hint is None:
        hint = f"did you mean {subfolders[0]}?" if subfolders else "save the model with save_pretrained"
    raise CheckpointError(f"{folder} is not a model: it has neither config.json nor modules.json", hint=hint)


def _check_pointers(folder: Path) -> None:
    """Raise CheckpointError for Git LFS pointers."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json") and path.is_file() and path.stat().st_size < MAX_POINTER_BYTES:
            with path.open("rb") as file:
                if file.read(len(LFS_POINTER)) == LFS_POINTER:
                    raise CheckpointError(
                        f"{path} is a Git LFS pointer instead of the file",
                        hint=f"git lfs install && git -C {folder} lfs pull",
                    )
