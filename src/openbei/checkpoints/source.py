"""What every checkpoint source offers, and fingerprints of folders. No source lives here."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from openbei.config import Environment
from openbei.truss import CheckpointRepository


class CheckpointSource(Protocol):
    """Brings checkpoints to local folders, and knows when one is another than before."""

    def fetch(self, repository: CheckpointRepository, environment: Environment, *, is_offline: bool) -> Path:
        """The folder of a checkpoint, downloaded if need be; offline from what is on this machine alone.

        Raises CheckpointError for a checkpoint that is not there, DownloadError where it cannot be brought here.
        """
        ...

    def fingerprint(self, folder: Path) -> str:
        """What tells whether a fetched checkpoint has changed: 32 hexadecimal digits, cheap enough for every start."""
        ...


def fingerprint_of(folder: Path, stamp_of: Callable[[Path], str]) -> str:
    """JSON files and templates count with their content; weights, as they are large, with what stands for theirs."""
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
