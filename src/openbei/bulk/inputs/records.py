"""Inputs that are read row by row: what their formats have in common."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from openbei.bulk.part import PART_ROWS, Kind, Part, Reading, Record, has_texts
from openbei.digests import digest, file_digest
from openbei.errors import InputError


class Row(NamedTuple):
    """The texts of a row, None where one is null, and the columns to copy."""

    texts: list[str | None]
    kept: Record


class Format(Protocol):
    """A format of rows, with the options of a reading."""

    row_name: str

    def text_columns(self) -> list[str]:
        """The names of the columns with texts, for messages; known once a row was read."""

    def rows(self, file: BinaryIO | None) -> Iterator[Row]:
        """The rows of a file, from its start. Raises InputError, naming the row, for one that cannot be read."""

    def count(self, file: BinaryIO | None) -> int | None:
        """The number of rows, if it can be counted without decoding them."""

    def kinds(self, file: BinaryIO | None) -> dict[str, Kind]:
        """The columns to copy."""


class RecordSource:
    """An input of rows, in a file, a stream that is read once, or memory."""

    def __init__(self, name: str, rows: Format, reading: Reading, file: Path | BinaryIO | None) -> None:
        self.name, self.row_name = name, rows.row_name
        self._format, self._reading, self._file = rows, reading, file

    def digest(self) -> str | None:
        """See Source."""
        if isinstance(self._file, Path):
            return file_digest(self._file)
        return digest(repr([*self._format.rows(None)]).encode()) if self._file is None else None

    def num_rows(self) -> int | None:
        """See Source."""
        if isinstance(self._file, Path):
            with self._file.open("rb") as file:
                return self._format.count(file)
        return self._format.count(None) if self._file is None else None

    def columns(self) -> dict[str, Kind]:
        """See Source."""
        if not isinstance(self._file, Path):
            return self._format.kinds(None)
        with self._file.open("rb") as file:
            return self._format.kinds(file)

    def parts(self, first: int) -> Iterator[Part]:
        """See Source."""
        if not isinstance(self._file, Path):
            yield from self._parts(self._file, first)
            return
        with self._file.open("rb") as file:
            yield from self._parts(file, first)

    def _parts(self, file: BinaryIO | None, first: int) -> Iterator[Part]:
        rows = islice(enumerate(self._format.rows(file)), first * PART_ROWS, None)
        while chunk := [*islice(rows, PART_ROWS)]:
            used = [(position, row) for position, row in chunk if self._is_used(position, row)]
            texts = [[str(text) for text in column] for column in zip(*(row.texts for _, row in used), strict=True)]
            yield Part(
                [position for position, _ in used], texts or [[] for _ in chunk[0][1].texts], [r.kept for _, r in used]
            )

    def _is_used(self, position: int, row: Row) -> bool:
        where = f"{self.name}, {self.row_name} {position + 1}"
        return has_texts(row.texts, self._format.text_columns(), where, self._reading.blank)


def without_bom(line: bytes) -> bytes:
    """A first line without the byte order mark of UTF-8."""
    return line.removeprefix(b"\xef\xbb\xbf")


def count_lines(file: BinaryIO | None) -> int | None:
    """The number of lines of a file."""
    if file is None:
        return None
    num_lines, last = 0, b"\n"
    while block := file.read(1 << 20):
        num_lines += block.count(b"\n")
        last = block[-1:]
    return num_lines + (last != b"\n")


def not_utf8(where: str, error: UnicodeDecodeError) -> InputError:
    """The error for bytes that are not UTF-8."""
    return InputError(f"{where}: {error}", hint="save it as UTF-8")
