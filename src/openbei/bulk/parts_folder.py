"""The output file, which appears only when it is complete, and the folder with its parts until then.

    vectors.parquet                        the complete file
    vectors.parquet.parts/state.json       the run that wrote the parts
                          00000000, ...    the rows of each part, written atomically
                          complete         the file as far as it is merged

A run with an equal state continues after the parts that exist. The boundaries of parts are fixed and the file is merged
from them, so the result of a resumed run is byte for byte that of an uninterrupted one.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from openbei.bulk.outputs.output import Output
from openbei.bulk.part import PART_ROWS, Part
from openbei.bulk.results import Values
from openbei.errors import InputError


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The run that wrote parts. Only a run with an equal state continues after them."""

    source: str
    made_by: str
    part_rows: int = PART_ROWS


class PartsFolder:
    """An open folder with `num_parts` parts, which are also merged."""

    def __init__(self, path: Path, output: Output, num_parts: int) -> None:
        self._path, self._output, self.num_parts = path, output, num_parts

    def append(self, part: Part, results: Mapping[str, Values]) -> None:
        """Write a part, wait until it is on disk, and merge it."""
        path, unfinished = self._path / f"{self.num_parts:08}", self._path / "unfinished"
        with unfinished.open("wb") as file:
            self._output.write_part(file, part, results)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        self._output.add(path)
        self.num_parts += 1


@contextmanager
def parts_folder(path: Path, output: Output, state: State | None, *, resume: bool) -> Iterator[PartsFolder]:
    """The folder of a file. The file is complete when the block ends; the parts are kept if the block raises.

    A run without a `state` cannot be resumed. Raises InputError if another process is writing the same file.
    """
    folder = folder_of(path)
    folder.mkdir(exist_ok=True)
    with _locked(folder):
        if not (resume and state is not None and _read(folder) == state):
            _begin(folder, state)
        with (folder / "complete").open("wb") as file:
            output.begin(file)
            try:
                num_parts = 0
                while (part := folder / f"{num_parts:08}").exists():
                    output.add(part)
                    num_parts += 1
                yield PartsFolder(folder, output, num_parts)
            finally:
                output.end()
            file.flush()
            os.fsync(file.fileno())
        (folder / "complete").replace(path)
        (folder / "state.json").unlink(missing_ok=True)
        shutil.rmtree(folder)


def folder_of(path: Path) -> Path:
    """The folder with the parts of a file."""
    return path.with_name(path.name + ".parts")


def _begin(folder: Path, state: State | None) -> None:
    """Remove the parts of another run, the state first, and write the state."""
    (folder / "state.json").unlink(missing_ok=True)
    for left in folder.iterdir():
        left.unlink()
    if state is not None:
        unfinished = folder / "unfinished"
        unfinished.write_bytes(msgspec.json.encode(state))
        unfinished.replace(folder / "state.json")


def _read(folder: Path) -> State | None:
    try:
        return msgspec.json.decode((folder / "state.json").read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which the system releases when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not (_lock(descriptor) and os.path.samestat(os.fstat(descriptor), folder.stat())):
            raise InputError(f"{folder} is being written by another process")
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
