"""A fake disk that records file operations in order, and fails selected ones."""

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
    """Records write, copy, fsync, rename, exchange, mkdtemp, chmod, and remove, which never fails.

    Calls whose number is in `failing` raise `error`. Names in `calls` are relative to the folder; temporary names are
    replaced by their suffix, as in "rename partial engine".
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
        monkeypatch.setattr(Path, "open", self._wrap_open(Path.open))
        monkeypatch.setattr(Path, "rename", self._wrap("rename", Path.rename))
        monkeypatch.setattr(atomic_folder, "exchange", self._wrap("exchange", atomic_folder.exchange))
        monkeypatch.setattr(Path, "chmod", self._wrap("chmod", Path.chmod))
        monkeypatch.setattr(shutil, "copyfile", self._wrap("copy", shutil.copyfile, first_path=1))
        monkeypatch.setattr(shutil, "rmtree", self._wrap_rmtree(shutil.rmtree))
        monkeypatch.setattr(tempfile, "mkdtemp", self._wrap_mkdtemp(tempfile.mkdtemp))
        monkeypatch.setattr(os, "fsync", self._fsync)  # a real fsync is slow

    @property
    def steps(self) -> list[str]:
        """The calls without consecutive duplicates."""
        return [call for i, call in enumerate(self.calls) if not i or call != self.calls[i - 1]]

    def record(self, call: str, *paths: Path) -> None:
        """Record a call, and raise if it is to fail."""
        names = (re.sub(r"\.[^/]*\.(partial|old)\b", r"\1", os.path.relpath(path, self._folder)) for path in paths)
        self.calls.append(" ".join([call, *names]))
        if len(self.calls) - 1 in self._failing:
            self.has_failed = True
            raise self._error

    def _wrap(self, name: str, real: Callable[..., Any], first_path: int = 0) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.record(name, *(Path(path) for path in arguments[first_path:] if isinstance(path, Path)))
            return real(*arguments, **options)

        return call

    def _wrap_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                disk.record("write", Path(str(self.name)))
                return super().write(data)

        def call(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            return io.BufferedWriter(File(str(path), "w")) if mode == "wb" else real(path, mode, *arguments, **options)

        return call

    def _wrap_rmtree(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *arguments: Any, **options: Any) -> None:
            if path.exists():
                self.calls.append("remove " + path.suffix[1:])
            real(path, *arguments, **options)

        return call

    def _wrap_mkdtemp(self, real: Callable[..., str]) -> Callable[..., str]:
        def call(*, suffix: str, **options: Any) -> str:
            self.record("mkdtemp", self._folder / f".new{suffix}")
            return real(suffix=suffix, **options)

        return call

    def _fsync(self, descriptor: int) -> None:
        self.record("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}")))


def each_fault(
    folder: Path, write: Callable[[], object], error: BaseException, *, persistent: bool = False
) -> Iterator[BaseException]:
    """Yield the exception of `write` for each failing call; if `persistent`, all later calls fail, too."""
    for number in itertools.count():
        caught: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            failing = range(number, sys.maxsize if persistent else number + 1)
            disk = FaultyDisk(patch, folder, failing=failing, error=error)
            try:
                write()
            except (OpenbeiError, type(error)) as raised:
                caught = raised
        if not disk.has_failed:
            break
        assert caught, f"an error was ignored: {disk.calls}"
        yield caught
    assert number > 10
