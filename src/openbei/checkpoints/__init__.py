"""Checkpoint sources: each brings a checkpoint to a local folder. One file a source; this table names them."""

from pathlib import Path

from openbei.checkpoints.containment import check_contained
from openbei.checkpoints.hub import Hub
from openbei.checkpoints.local import LocalFolder
from openbei.checkpoints.source import CheckpointSource
from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.truss import CheckpointRepository, Source

SOURCES: dict[Source, CheckpointSource] = {
    "HF": Hub(),
    "LOCAL": LocalFolder(),
}

MARKS = ("config.json", "modules.json", "adapter_config.json")
"""A folder with none of these is no model; one with the last alone is told so in a build."""

OTHER_FORMATS = {
    ".gguf": "GGUF is the format of llama.cpp; openbei reads safetensors with their config.json",
    ".onnx": "ONNX is not read; openbei reads safetensors with their config.json",
    "engine.plan": "a TensorRT engine is not read; openbei reads safetensors with their config.json",
}

LFS_POINTER, MAX_POINTER_BYTES = b"version https://git-lfs", 1024


def fetch_checkpoint(
    repository: CheckpointRepository, environment: Environment, *, is_offline: bool | None = None
) -> Path:
    """The folder of a checkpoint, downloaded if need be; `is_offline` None is what the environment says of this run.

    Raises CheckpointError for a source that is not there, and for a folder with links that leave it or special files,
    DownloadError where it cannot be brought here.
    """
    source = SOURCES.get(repository.source)
    if source is None:
        raise CheckpointError(
            f"checkpoint_repository.source {repository.source} is not implemented yet",
            hint=f"download the checkpoint and use {' or '.join(SOURCES)}",
        )
    is_offline = environment.is_offline if is_offline is None else is_offline
    folder = source.fetch(repository, environment, is_offline=is_offline)
    check_contained(folder)
    _check_model(folder)
    _check_pointers(folder)
    return folder


def fingerprint(repository: CheckpointRepository, folder: Path) -> str:
    """What tells whether a checkpoint that was fetched to a folder has changed."""
    return SOURCES[repository.source].fingerprint(folder)


def _check_model(folder: Path) -> None:
    """Raise CheckpointError for a folder that holds something else than a model of transformers."""
    if any((folder / name).exists() for name in MARKS):
        return
    inner = sorted(path.parent.name for name in MARKS[:2] for path in folder.glob(f"*/{name}"))
    found = next((why for ending, why in OTHER_FORMATS.items() if any(folder.glob(f"*{ending}"))), None)
    hint = found or (f"is it {folder / inner[0]}?" if inner else "a checkpoint is what save_pretrained writes")
    raise CheckpointError(f"{folder} is no model: it has neither config.json nor modules.json", hint=hint)


def _check_pointers(folder: Path) -> None:
    """Raise CheckpointError where git left pointers in place of files."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".safetensors", ".json") and path.is_file() and path.stat().st_size < MAX_POINTER_BYTES:
            with path.open("rb") as file:
                if file.read(len(LFS_POINTER)) == LFS_POINTER:
                    raise CheckpointError(
                        f"{path} is a Git LFS pointer, {path.stat().st_size} bytes that stand for the file",
                        hint=f"git lfs install && git -C {folder} lfs pull",
                    )
