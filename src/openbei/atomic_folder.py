"""Atomic creation and replacement of folders: a folder is filled under a temporary name, then renamed.

An existing folder is replaced by an atomic exchange (renameat2, Linux). Where that is not supported, it is renamed
first: for a moment the path does not exist, and a process killed then leaves the old folder as `.{name}.….old`.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_NOT_SUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, removed at the end unless it was renamed.

    Also removes the temporary folders of killed processes.
    """
    _remove_abandoned(path, "partial")
    partial, lock = _locked_folder(path)
    try:
        yield partial
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(partial.stat(), os.fstat(lock)):
                shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def replace_folder(partial: Path, path: Path) -> None:
    """Rename a folder to `path`, replacing an existing folder, and sync the parent. Rolled back on failure."""
    if not path.exists():
        rename_and_sync(partial, path)
    elif exchange(partial, path):
        try:
            sync_folder(path.parent)
        except BaseException:
            exchange(partial, path)
            raise
        shutil.rmtree(partial)
    else:
        _rename_over(partial, path)
    _remove_abandoned(path, "old")


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders atomically; False if that is not supported. Raises OSError."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_SUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def sync_files(folder: Path) -> None:
    """fsync the files in a folder, and the folder."""
    for path in folder.iterdir():
        if path.is_file():
            _sync(path)
    sync_folder(folder)


def sync_folder(path: Path) -> None:
    """fsync a folder, which makes its entries durable."""
    _sync(path)


def rename_and_sync(partial: Path, path: Path) -> None:
    """Rename a folder to `path`, which must not exist, and sync the parent. Rolled back on failure. Raises OSError."""
    partial.rename(path)
    try:
        sync_folder(path.parent)
    except BaseException:
        path.rename(partial)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_over(partial: Path, path: Path) -> None:
    lock = os.open(path, os.O_RDONLY)
    try:
        _try_lock(lock)
        old = _set_aside(path)
        try:
            rename_and_sync(partial, path)
        except BaseException:
            old.rename(path)
            raise
        shutil.rmtree(old)
    finally:
        os.close(lock)


def _set_aside(path: Path) -> Path:
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    try:
        return path.rename(old)
    except BaseException:
        old.rmdir()
        raise


def _locked_folder(path: Path) -> tuple[Path, int]:
    """A new folder, and an open descriptor whose lock marks the folder as in use."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        with contextlib.suppress(FileNotFoundError):  # another process removed it as abandoned before it was locked
            lock = os.open(folder, os.O_RDONLY)
            _try_lock(lock)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _try_lock(descriptor: int) -> bool:
    """Lock a folder; False if another process holds the lock, or locks are not supported."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(path: Path, suffix: str) -> None:
    """Remove the temporary folders for `path` that no process has locked."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.{suffix}")
    for folder in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
