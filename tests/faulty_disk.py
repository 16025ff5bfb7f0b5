"""A double for the disk: it writes down what a writer asks of it, in order, and fails where a test wants it to."""

import errno
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openbei import atomic_folder
from openbei.errors import OpenbeiError


class FaultyDisk:
    """What a folder is asked from now on: write, copy, fsync, rename, exchange, mkdtemp, chmod, and remove, which never
    fails.

    Calls whose number is in `failing` raise `error`. Names in `calls` are relative to the folder, and of temporary ones
    only the suffix is kept: "rename partial engine".
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        folder: Path,
        *,
        failing: range = range(0),
        error: BaseException | None = None,
    ) -> None:
        self.calls: list[str] = []
        self.has_failed = False
        self._folder, self._failing, self._error = folder, failing, error or OSError(errno.EIO, "it failed")
        monkeypatch.setattr(Path, "open", self._opening(Path.open))
        monkeypatch.setattr(Path, "rename", self._watched("rename", Path.rename))
        monkeypatch.setattr(atomic_folder, "exchange", self._watched("exchange", atomic_folder.exchange))
        monkeypatch.setattr(Path, "chmod", self._watched("chmod", Path.chmod))
        monkeypatch.setattr(shutil, "copyfile", self._watched("copy", shutil.copyfile, named=1))
        monkeypatch.setattr(shutil, "rmtree", self._removing(shutil.rmtree))
        monkeypatch.setattr(tempfile, "mkdtemp", self._making(tempfile.mkdtemp))
        monkeypatch.setattr(os, "fsync", self._syncing)  # and nothing is synced: that takes long

    @property
    def steps(self) -> list[str]:
        """The calls, with a run of the same ones as one."""
        return [call for i, call in enumerate(self.calls) if not i or call != self.calls[i - 1]]

    def ask(self, what: str, *paths: Path) -> None:
        """Writes a call down, and fails if its turn has come."""
        names = (re.sub(r"\.[^/]*\.(partial|old)\b", r"\1", os.path.relpath(path, self._folder)) for path in paths)
        self.calls.append(" ".join([what, *names]))
        if len(self.calls) - 1 in self._failing:
            self.has_failed = True
            raise self._error

    def _watched(self, what: str, real: Callable[..., Any], named: int = 0) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            self.ask(what, *(Path(path) for path in given[named:] if isinstance(path, Path)))
            return real(*given, **options)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                disk.ask("write", Path(str(self.name)))
                return super().write(data)

        def call(path: Path, mode: str = "r", *given: Any, **options: Any) -> Any:
            return io.BufferedWriter(File(str(path), "w")) if mode == "wb" else real(path, mode, *given, **options)

        return call

    def _removing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *given: Any, **options: Any) -> None:
            if path.exists():
                self.calls.append("remove " + path.suffix[1:])
            real(path, *given, **options)

        return call

    def _making(self, real: Callable[..., str]) -> Callable[..., str]:
        def call(*, suffix: str, **options: Any) -> str:
            self.ask("mkdtemp", self._folder / f".new{suffix}")
            return real(suffix=suffix, **options)

        return call

    def _syncing(self, descriptor: int) -> None:
        self.ask("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")))


def each_fault(
    folder: Path, write: Callable[[], object], error: BaseException, *, for_good: bool = False
) -> Iterator[BaseException]:
    """What `write` raises while one call after the other fails, or all from it on, until none is left to fail."""
    for number in itertools.count():
        caught: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            failing = range(number, sys.maxsize if for_good else number + 1)
            disk = FaultyDisk(patch, folder, failing=failing, error=error)
            try:
                write()
            except (OpenbeiError, type(error)) as raised:
                caught = raised
        if not disk.has_failed:
            break
        assert caught, f"a fault was passed over: {disk.calls}"
        yield caught
    assert number > 10
