"""The check that a checkpoint has only regular files, in its own folder or in the Hub's cache."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from openbei.errors import CheckpointError

SUFFIXES = (".json", ".jinja", ".safetensors")
"""Suffixes of all files that a build reads."""


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
                f"{path} is a link to {target}, outside of the checkpoint", hint="replace the link by a copy"
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
