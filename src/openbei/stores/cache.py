"""The cache of remote folders that are not on the Hub: checkpoints, and artifacts, which have the same structure.

checkpoints/KEY/lock         held by the process that fetches
checkpoints/KEY/current      JSON: the newest complete version
checkpoints/KEY/VERSION/     the files of that version, or of the one before
checkpoints/KEY/partial/     unfinished downloads
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openbei.atomic_folder import replace_folder, sync_files, temporary_folder
from openbei.errors import DownloadError


class Current(msgspec.Struct, frozen=True):
    """The file `current`; `files` are name → version in the store, and `etag` is that of an archive."""

    version: str
    etag: str | None = None
    files: dict[str, str] = {}


class VersionCache:
    """The cached versions of one remote folder. `identity` is its URL; `cache` has all folders of one kind."""

    def __init__(self, cache: Path, identity: str) -> None:
        self.root = cache / hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._identity = identity

    @property
    def partial(self) -> Path:
        """The folder of unfinished downloads."""
        return self.root / "partial"

    def current(self) -> tuple[Path, Current] | None:
        """The folder of the complete version, or None."""
        try:
            current = msgspec.json.decode((self.root / "current").read_bytes(), type=Current)
        except (OSError, msgspec.MsgspecError):
            return None
        folder = self.root / current.version
        return (folder, current) if folder.is_dir() else None

    def offline(self) -> Path:
        """The folder of the complete version. Raises DownloadError if there is none."""
        if (current := self.current()) is None:
            raise DownloadError(
                f"{self._identity} cannot be downloaded: it is not in the cache {self.root.parent}, and this run is "
                "offline",
                hint="unset HF_HUB_OFFLINE and OPENBEI_OFFLINE to download it",
            )
        return current[0]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this folder, so that only one process at a time fetches it."""
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def new_version(self, current: Current) -> Iterator[Path]:
        """An empty folder to fill, which becomes the current version at the end.

        The version before it is kept for processes that are about to read it; earlier ones are removed. Requires the
        lock.
        """
        before = self.current()
        folder = self.root / current.version
        with temporary_folder(folder) as unfinished:
            yield unfinished
            for inner in (path for path in unfinished.rglob("*") if path.is_dir()):
                sync_files(inner)
            sync_files(unfinished)
            unfinished.chmod(0o755)
            replace_folder(unfinished, folder)
        self._set_current(current)
        for other in self.root.iterdir():
            if other.is_dir() and other not in (folder, self.partial, before and before[0]):
                shutil.rmtree(other, ignore_errors=True)
        shutil.rmtree(self.partial, ignore_errors=True)

    def _set_current(self, current: Current) -> None:
        unfinished = self.root / "current.new"
        unfinished.write_bytes(msgspec.json.encode(current))
        unfinished.replace(self.root / "current")
