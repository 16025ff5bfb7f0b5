"""Folders that are there whole or not at all: filled beside their place under a name of their own, then put there.

What stands there is replaced by an exchange of names (renameat2, Linux). Where the kernel or file system has none, what
stands there is renamed away first: for a moment nothing is there, and a process killed then leaves `.{name}.….old`.
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
_NOT_OFFERED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path`, removed at the end if it is still there. What killed processes left goes first."""
    _remove_left(path, "partial")
    partial, lock = _locked_folder(path)
    try:
        yield partial
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(partial.stat(), os.fstat(lock)):
                shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def put_in_place(partial: Path, path: Path) -> None:
    """Give a folder the name `path` and sync that; what has it gets it back if that fails, and is removed otherwise."""
    if not path.exists():
        rename_synced(partial, path)
    elif exchange(partial, path):
        try:
            sync_folder(path.parent)
        except BaseException:
            exchange(partial, path)
            raise
        shutil.rmtree(partial)
    else:
        _rename_over(partial, path)
    _remove_left(path, "old")


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; False where that is not offered. Raises OSError."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), str(other))


def sync_files(folder: Path) -> None:
    """Write the files that lie in a folder to disk, and its own entries."""
    for path in folder.iterdir():
        if path.is_file():
            _sync(path)
    sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Write a folder's own entries to disk."""
    _sync(path)


def rename_synced(partial: Path, path: Path) -> None:
    """Give a folder the name `path`, which no file has, and sync that; undone if it fails. Raises OSError."""
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
            rename_synced(partial, path)
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
    """A new folder, and the descriptor that tells others, as long as it is open, that a process works on it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
        with contextlib.suppress(FileNotFoundError):  # taken for one that was left, before it was locked
            lock = os.open(folder, os.O_RDONLY)
            _try_lock(lock)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _try_lock(descriptor: int) -> bool:
    """Lock a folder; False where another process has locked it, or the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_left(path: Path, suffix: str) -> None:
    """Remove the folders for `path` that no living process has locked."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.{suffix}")
    for folder in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]:
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _try_lock(lock):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
