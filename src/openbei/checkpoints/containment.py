"""The files of a checkpoint that a build reads, and the check that they are regular files in its own folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from openbei.errors import CheckpointError

SUFFIXES = (".json", ".jinja", ".safetensors")
"""Suffixes of all files that a build reads."""


def is_read(name: str) -> bool:
    """Whether a build may read a file: not those of hidden folders, nor a trainer's earlier checkpoints."""
    path = PurePosixPath(name)
    is_skipped = any(part.startswith((".", "checkpoint-")) for part in path.parts)
    return path.suffix in SUFFIXES and not is_skipped


def check_contained(folder: Path) -> None:
    """Raise CheckpointError for links out of the folder, devices and pipes, among the files that a build reads.

    A snapshot in the Hub's cache is a folder of links to the cache's `blobs`, which are allowed.
    """
    root = folder.resolve()
    allowed = [root, *([root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [])]
    for path in _entries(root):
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(parent) for parent in allowed):
            raise CheckpointError(
                f"{path} is a link to {target}, outside of the checkpoint", hint="replace the link with a copy"
            )
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CheckpointError(f"{path} is not a regular file")


def _entries(root: Path) -> Iterator[Path]:
    """Links to folders, and everything with one of SUFFIXES."""
    for parent, folders, files in os.walk(root):
        paths = [Path(parent, name) for name in (*folders, *files)]
        yield from (path for path in paths if path.suffix in SUFFIXES or (path.name in folders and path.is_symlink()))
