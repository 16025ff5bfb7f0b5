"""Checkpoint sources: each brings a checkpoint to a local folder. One file a source; this table names them."""

from collections.abc import Callable
from pathlib import Path

from openbei.checkpoints.containment import check_contained
from openbei.checkpoints.hub import fetch_from_hub
from openbei.checkpoints.local import fetch_from_folder
from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.truss import CheckpointRepository, Source

SOURCES: dict[Source, Callable[[CheckpointRepository, Environment], Path]] = {
    "HF": fetch_from_hub,
    "LOCAL": fetch_from_folder,
}


def fetch_checkpoint(repository: CheckpointRepository, environment: Environment) -> Path:
    """The folder of a checkpoint, downloaded if need be.

    Raises CheckpointError for a source that is not there, and for a folder with links that leave it or special files,
    DownloadError where it cannot be brought here.
    """
    fetch = SOURCES.get(repository.source)
    if fetch is None:
        raise CheckpointError(
            f"checkpoint_repository.source {repository.source} is not implemented yet",
            hint=f"download the checkpoint and use {' or '.join(SOURCES)}",
        )
    folder = fetch(repository, environment)
    check_contained(folder)
    return folder
