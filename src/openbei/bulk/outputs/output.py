"""What output formats have in common. Rows are first written to the file of their part, then added to the output."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from openbei.bulk.arrow import records_of_table
from openbei.bulk.part import Columns, Part
from openbei.bulk.results import Types, Values
from openbei.errors import InputError


class Output(Protocol):
    """A format, for rows with the columns `kept` and the results `types`.

    `kept` is called only by formats that must know the columns before the first row. Raises InputError for columns
    that the format cannot have.
    """

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None: ...

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """Write the file of a part."""

    def begin(self, file: BinaryIO) -> None:
        """Begin the output file."""

    def add(self, part: Path) -> None:
        """Add the file of a part to the output file."""

    def end(self) -> None:
        """Complete the output file, without closing it. Also called if a run fails."""


class Concatenated:
    """A format whose file is `header`, followed by the files of the parts."""

    header = b""
    _file: BinaryIO

    def begin(self, file: BinaryIO) -> None:
        """See Output."""
        self._file = file
        file.write(self.header)

    def add(self, part: Path) -> None:
        """See Output."""
        with part.open("rb") as file:
            shutil.copyfileobj(file, self._file, 1 << 20)

    def end(self) -> None:
        """See Output."""


def records_of(part: Part) -> list[dict[str, Any]]:
    """The columns to copy as records. Raises InputError for a string of an Arrow file that is not UTF-8."""
    if isinstance(part.kept, list):
        return part.kept
    try:
        return records_of_table(part.kept) if part.kept.num_columns else [{} for _ in part.positions]
    except UnicodeDecodeError as error:
        first, last = part.positions[0] + 1, part.positions[-1] + 1
        raise InputError(
            f"rows {first} to {last}: a column to copy is not UTF-8: {error}", hint="see --keep"
        ) from error


def check_names(name: str, kept: Mapping[str, object] | list[str], types: Types) -> None:
    """Raise InputError if a column to copy has the name of a result."""
    for column in kept:
        if column in types:
            raise InputError(
                f"{name} has a column {column!r} already, which is the name of the result",
                hint="name the results otherwise with --prefix, or omit this column with --keep",
            )
