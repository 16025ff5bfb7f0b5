"""The interface of checkpoint sources, and fingerprints of folders."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from openbei.config import Environment
from openbei.errors import CheckpointError
from openbei.truss import CheckpointRepository

Progress = Callable[[int, int], None]


class CheckpointSource(Protocol):
    """Fetches checkpoints to local folders, and detects whether one has changed."""

    def fetch(
        self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool, progress: Progress
    ) -> Path:
        """The folder of a checkpoint, downloaded if necessary and not offline.

        `progress` is called with bytes done and bytes in total.

        Raises CheckpointError for a missing checkpoint, DownloadError if it cannot be downloaded.
        """
        ...

    def fingerprint(self, folder: Path) -> str:
        """A fingerprint of a fetched checkpoint: 32 hexadecimal digits, cheap enough to compute at every start."""
        ...


def fingerprint_of(folder: Path, stamp_of: Callable[[Path], str]) -> str:
    """A fingerprint of a folder: the content of JSON files and templates, and `stamp_of` the large weight files."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".json", ".jinja"):
            stamp = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".safetensors":
            stamp = stamp_of(path)
        else:
            continue
        digest.update(f"{path.relative_to(folder)}\0{stamp}\0".encode())
    return digest.hexdigest()[:32]


def time_stamp(path: Path) -> str:
    """Size and time of modification."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def check_no_revision(repository: CheckpointRepository) -> None:
    """Raise CheckpointError if a revision is set, for sources that have none."""
    if repository.revision is not None:
        raise CheckpointError(
            f"checkpoint_repository.revision is {repository.revision!r}; it must not be set for {repository.source}"
        )
