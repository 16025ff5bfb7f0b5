"""What a checkpoint folder may hold: files, of its own or of the Hub's cache that it lies in."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from openbei.errors import CheckpointError

READ = (".json", ".jinja", ".safetensors")
"""Endings of all files that a build reads."""


def check_contained(folder: Path) -> None:
    """Raise CheckpointError for a link that leaves the folder, and for a device, a pipe or the like.

    Of files only those that a build reads count. A snapshot in the Hub's cache is a folder of links to its `blobs`.
    """
    root = folder.resolve()
    allowed = [root, *([root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [])]
    for path in _entries(root):
        target = Path(os.path.realpath(path))
        if not any(target.is_relative_to(place) for place in allowed):
            raise CheckpointError(
                f"{path} is a link to {target}, outside of the checkpoint", hint="copy what it leads to in its place"
            )
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise CheckpointError(f"{path} is no file, but a device, a pipe or the like")


def _entries(root: Path) -> Iterator[Path]:
    """Links to folders, and what has the name of a file that is read."""
    for place, folders, files in os.walk(root):
        paths = [Path(place, name) for name in (*folders, *files)]
        yield from (path for path in paths if path.suffix in READ or (path.name in folders and path.is_symlink()))
