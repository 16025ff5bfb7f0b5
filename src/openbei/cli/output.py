"""The output file of `bei embed`, which appears only when it is complete. An interrupted run can be resumed.

    vectors.npy            the complete file
    vectors.npy.partial    until then: rows in the same format, and perhaps an incomplete chunk at the end
    vectors.npy.state      the source, engine and chunk size of the partial file

A resumed run continues after the last whole chunk. Texts are embedded in chunks with fixed boundaries, so its result is
bit for bit that of an uninterrupted run.
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
"""A row's position in the input, and its id as JSON."""


class Format(Protocol):
    """A file format of rows."""

    def begin(self, file: BinaryIO) -> None:
        """Write the part before the rows."""

    def append(self, file: BinaryIO, vectors: Vectors, keys: Items[Key]) -> None:
        """Append rows with their keys."""

    def truncate(self, file: BinaryIO, multiple: int) -> int:
        """Truncate the file to a multiple of `multiple` rows; the number of rows left."""

    def finish(self, file: BinaryIO, num_rows: int) -> None:
        """Write the part that depends on the number of rows."""


class Npy:
    """A .npy file, float32 [rows, size]. Its header is rewritten at the end; its length is the same for any number."""

    def __init__(self, size: int) -> None:
        self.size = size

    def begin(self, file: BinaryIO) -> None:
        """Write a header for zero rows."""
        self.finish(file, 0)

    def append(self, file: BinaryIO, vectors: Vectors, keys: Items[Key]) -> None:
        """Append rows as little-endian float32."""
        file.write(np.ascontiguousarray(vectors, "<f4").data)

    def truncate(self, file: BinaryIO, multiple: int) -> int:
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
        """Write the header. numpy pads it to the same length for every number of rows."""
        file.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (num_rows, self.size)}
        np.lib.format.write_array_header_1_0(file, header)


class Jsonl:
    """A line `{"index": 0, "embedding": [...]}` for each row, with the `id` of the input if it has one."""

    def begin(self, file: BinaryIO) -> None:
        """There is no header."""

    def append(self, file: BinaryIO, vectors: Vectors, keys: Items[Key]) -> None:
        """Append a line for each row."""
        rows = (
            {"index": index, **({} if id is None else {"id": id}), "embedding": row}
            for (index, id), row in zip(keys, vectors.tolist(), strict=True)
        )
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)

    def truncate(self, file: BinaryIO, multiple: int) -> int:
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
        """There is no header."""


def format_of(path: Path, size: int) -> Format:
    """The format of a file, by its name. Raises InputError."""
    if path.suffix == ".npy":
        return Npy(size)
    if path.suffix in (".jsonl", ".ndjson"):
        return Jsonl()
    raise InputError(f"{path} has no known format", hint="give --output a name that ends in .npy or .jsonl")


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The run that wrote a partial file. Only a run with an equal state resumes it."""

    source: str
    made_by: str
    chunk_rows: int


class Partial:
    """An open partial file with `num_rows` rows."""

    def __init__(self, file: BinaryIO, rows: Format, num_rows: int) -> None:
        self._file, self._format, self.num_rows = file, rows, num_rows

    def append(self, vectors: Vectors, keys: Items[Key]) -> None:
        """Append a chunk, and wait until it is on disk."""
        self._format.append(self._file, vectors, keys)
        self.num_rows += len(vectors)
        _sync(self._file)


@contextmanager
def complete_or_partial(path: Path, rows: Format, state: State | None, *, resume: bool) -> Iterator[Partial]:
    """A partial file. It is renamed to `path` when the block ends, and is kept if the block raises.

    A run without a `state` cannot be resumed. Raises InputError if another process is writing the same file.
    """
    partial, stated = partial_of(path), path.with_name(path.name + ".state")
    with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        _lock(file, partial)
        if resume and state is not None and _read(stated) == state:
            num_rows = rows.truncate(file, state.chunk_rows)
        else:
            stated.unlink(missing_ok=True)
            file.truncate(0)
            rows.begin(file)
            num_rows = 0
            if state is not None:
                _sync(file)
                stated.write_bytes(msgspec.json.encode(state))
        opened = Partial(file, rows, num_rows)
        yield opened
        rows.finish(file, opened.num_rows)
        _sync(file)
        partial.replace(path)
        stated.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """The path of the partial file."""
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
            raise FileNotFoundError  # another process renamed it in the meantime
    except (BlockingIOError, FileNotFoundError) as error:
        raise InputError(f"{path} is being written by another process") from error


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
