"""Parts: consecutive rows of an input, which are read, computed and written together."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from openbei.errors import InputError

PART_ROWS = 4096
"""Rows of the input in a part. The boundaries are fixed, so that a resumed run has the same batches."""

Blank = Literal["fail", "skip", "allow"]
"""What to do with rows whose text is missing or blank; `allow` refuses only missing texts."""

Kind = Literal["int64", "float64", "bool", "string", "json"]
"""The type of a column that is not from an Arrow file; `json` is a value of any type, as JSON."""

Columns = Any
"""Names and types of the columns to copy: `dict[str, Kind]`, or a pyarrow.Schema."""

Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class Reading:
    """Options: the columns with texts (None: `text`, or the only one), those to copy (None: all), and blank texts."""

    columns: tuple[str, ...] | None = None
    keep: tuple[str, ...] | None = None
    blank: Blank = "fail"

    def keeps(self, name: str) -> bool:
        """Whether a column is copied to the output."""
        return self.keep is None or name in self.keep


class Part(NamedTuple):
    """Rows of the input.

    `positions` are those of the rows in the input, counted from 0. `texts` has one list for each column with texts.
    `kept` are the columns to copy: a list of records, or a pyarrow.Table.
    """

    positions: Items[int]
    texts: list[list[str]]
    kept: Any


class Source(Protocol):
    """An input. `name` is for messages, `row_name` what its rows are called there."""

    name: str
    row_name: str

    def digest(self) -> str | None:
        """A digest of the content; None if it cannot be read again."""

    def num_rows(self) -> int | None:
        """The number of rows, if it is known."""

    def columns(self) -> Columns:
        """The columns to copy. Raises InputError if they are unknown before the input is read."""

    def parts(self, first: int) -> Iterator[Part]:
        """The parts from number `first` on. Raises InputError for a row that is invalid, which it names."""


def text_columns(name: str, names: Items[str], reading: Reading) -> list[str]:
    """The columns with texts, of all that a table has. Raises InputError for unknown names."""
    if repeated := sorted({column for column in names if names.count(column) > 1}):
        raise InputError(f"{name} has several columns {repeated[0]!r}", hint="rename them")
    wanted = reading.columns or (("text",) if len(names) != 1 else (names[0],))
    for column in (*wanted, *(reading.keep or ())):
        if column not in names:
            known = ", ".join(names) or "none: the file is empty"
            option = "--keep" if column not in wanted else "--query-column" if column != wanted[-1] else "--column"
            raise InputError(
                f"{name} has no column {column!r}; its columns are {known}", hint=f"choose one with {option}"
            )
    return [*wanted]


def has_texts(texts: Items[str | None], columns: Items[str], where: str, blank: Blank) -> bool:
    """Whether a row with these texts is used. Raises InputError for a blank one if `blank` says so."""
    for text, column in zip(texts, columns, strict=True):
        if text is not None and (blank == "allow" or text.strip()):
            continue
        if blank == "skip":
            return False
        what = "null" if text is None else "empty"
        hint = "use --blank skip to omit such rows" if blank == "fail" else "give every row a text"
        raise InputError(f"{where}, column {column!r}: the text is {what}", hint=hint)
    return True
