"""Where `bei embed` writes: a file that is complete or not there, resumed where an interrupted run left it.

    vectors.npy            appears when all is written
    vectors.npy.partial    until then: the same format, whole chunks of rows, then perhaps a torn one
    vectors.npy.state      what that partial file is of: source, engine, format

Rows count only as whole chunks, because texts are embedded in chunks that begin at fixed places: the resumed result is
the uninterrupted one, bit by bit.
"""

import fcntl
import os
from collections.abc import Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec
import numpy as np

from openbei.batch import Vectors
from openbei.errors import InputError

Key = tuple[int, msgspec.Raw | None]
"""A row's place in the input, and its id."""


class Format(Protocol):
    """How rows lie in a file, one after the other."""

    def begin(self, file: BinaryIO) -> None:
        """Write what stands before the rows."""

    def append(self, file: BinaryIO, vectors: Vectors, keys: Items[Key]) -> None:
        """Write rows, each with its key."""

    def cut(self, file: BinaryIO, multiple: int) -> int:
        """Cut the file after the last whole `multiple` of rows and say how many rows are left."""

    def finish(self, file: BinaryIO, num_rows: int) -> None:
        """Write what is only known at the end."""


class Npy:
    """A .npy file, float32 [rows, size]; its header has room for any number of rows and is written again at the end."""

    def __init__(self, size: int) -> None:
        self.size = size

    def begin(self, file: BinaryIO) -> None:
        """Write the header for no rows."""
        self.finish(file, 0)

    def append(self, file: BinaryIO, vectors: Vectors, keys: Items[Key]) -> None:
        """Write rows as they are in memory."""
        file.write(np.ascontiguousarray(vectors, "<f4").data)

    def cut(self, file: BinaryIO, multiple: int) -> int:
        """Count rows by the file's size."""
        file.seek(0)
        self.finish(file, 0)
        start = file.tell()
        num_bytes = max(file.seek(0, os.SEEK_END) - start, 0)
        num_rows = num_bytes // (4 * self.size) // multiple * multiple
        file.truncate(start + num_rows * 4 * self.size)
        file.seek(0, os.SEEK_END)
        return num_rows

    def finish(self, file: BinaryIO, num_rows: int) -> None:
        """Write the header; numpy pads it so that its length is the same for every number of rows."""
        file.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, self.size)}
        np.lib.format.write_array_header_1_0(file, header)


class Jsonl:
    """One `{"index": 0, "embedding": [...]}` a line, with the `id` that the input has."""

    def begin(self, file: BinaryIO) -> None:
        """Nothing stands before the rows."""

    def append(self, file: BinaryIO, vectors: Vectors, keys: Items[Key]) -> None:
        """Write a line for each row."""
        rows = (
            {"index": index, **({} if id is None else {"id": id}), "embedding": row}
            for (index, id), row in zip(keys, vectors.tolist(), strict=True)
        )
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)

    def cut(self, file: BinaryIO, multiple: int) -> int:
        """Count rows by line ends."""
        file.seek(0)
        kept_rows = kept_bytes = 0
        for num_rows, line in enumerate(file, start=1):
            if num_rows % multiple == 0 and line.endswith(b"\n"):
                kept_rows, kept_bytes = num_rows, file.tell()
        file.truncate(kept_bytes)
        file.seek(kept_bytes)
        return kept_rows

    def finish(self, file: BinaryIO, num_rows: int) -> None:
        """Nothing is left to write."""


def format_of(path: Path, size: int) -> Format:
    """By the file's name. Raises InputError."""
    if path.suffix == ".npy":
        return Npy(size)
    if path.suffix in (".jsonl", ".ndjson"):
        return Jsonl()
    raise InputError(f"{path} has no known format", hint="give --output a name that ends in .npy or .jsonl")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a partial file is of; it is continued only by a run of which all of this is true."""

    source: str
    made_by: str
    chunk_rows: int


class Partial:
    """A partial file under way: `num_rows` rows are in it already."""

    def __init__(self, file: BinaryIO, rows: Format, num_rows: int) -> None:
        self._file, self._format, self.num_rows = file, rows, num_rows

    def append(self, vectors: Vectors, keys: Items[Key]) -> None:
        """Add a chunk, and have it on disk before the next."""
        self._format.append(self._file, vectors, keys)
        self.num_rows += len(vectors)
        _sync(self._file)


@contextmanager
def complete_or_partial(path: Path, rows: Format, state: State | None, *, resume: bool) -> Iterator[Partial]:
    """A partial file that becomes `path` when the block ends well, and stays to be resumed when it does not.

    `state` None says that nothing can be resumed. Raises InputError where another run writes the same file.
    """
    partial, stated = partial_of(path), path.with_name(path.name + ".state")
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        _lock(file, partial)
        if resume and state is not None and _read(stated) == state:
            num_rows = rows.cut(file, state.chunk_rows)
        else:
            stated.unlink(missing_ok=True)
            file.truncate(0)
            rows.begin(file)
            num_rows = 0
            if state is not None:
                _sync(file)
                stated.write_bytes(msgspec.json.encode(state))
        under_way = Partial(file, rows, num_rows)
        yield under_way
        rows.finish(file, under_way.num_rows)
        _sync(file)
        partial.replace(path)
        stated.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """Where rows are until all are there."""
    return path.with_name(path.name + ".partial")


def _read(path: Path) -> State | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
            raise FileNotFoundError  # it became the complete file while we opened it
    except (BlockingIOError, FileNotFoundError) as error:
        raise InputError(f"{path} is being written by another process") from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
