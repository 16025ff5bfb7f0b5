"""CSV and TSV with a header. All cells are text."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from openbei.bulk.inputs.records import Row
from openbei.bulk.part import Kind, Reading, Record, text_columns
from openbei.errors import InputError

MAX_CELL_CHARACTERS = 1 << 27


class Csv:
    """Cells separated by commas."""

    row_name = "row"
    delimiter = ","

    def __init__(self, name: str, reading: Reading) -> None:
        self._name, self._reading = name, reading
        self._text_columns: list[str] = []

    def text_columns(self) -> list[str]:
        """See Format."""
        return self._text_columns

    def rows(self, file: BinaryIO | None) -> Iterator[Row]:
        """See Format."""
        with self._table(file) as (names, cells):
            self._text_columns = text_columns(self._name, names, self._reading)
            at = [names.index(column) for column in self._text_columns]
            for row in cells:
                kept: Record = {name: cell for name, cell in zip(names, row, strict=True) if self._reading.keeps(name)}
                yield Row([row[i] for i in at], kept)

    @contextmanager
    def _table(self, file: BinaryIO | None) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
        """The names of the header, and the rows after it."""
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        text = io.TextIOWrapper(file or io.BytesIO(), encoding="utf-8-sig", newline="")
        rows = csv.reader(text, delimiter=self.delimiter, strict=True)

        def cells() -> Iterator[list[str]]:
            for index, row in enumerate(row for row in rows if row):
                if len(row) != len(names):
                    what = f"has {len(row)} columns; the header has {len(names)}"
                    raise InputError(f"{self._name}, row {index + 1} (line {rows.line_num}) {what}")
                yield row

        try:
            names = next(rows, [])
            yield names, cells()
        except (csv.Error, UnicodeDecodeError) as error:
            what = f"{self._name}, line {rows.line_num + 1}: {error}"
            raise InputError(what, hint="the file must be UTF-8") from error
        finally:
            text.detach()

    def count(self, file: BinaryIO | None) -> int | None:
        """See Format."""
        with self._table(file) as (_, cells):
            return sum(1 for _ in cells)

    def kinds(self, file: BinaryIO | None) -> dict[str, Kind]:
        """See Format."""
        if file is None:
            raise InputError(f"the columns of {self._name} are not known before it is read", hint="use --input FILE")
        with self._table(file) as (names, _):
            return {name: "string" for name in names if self._reading.keeps(name)}


class Tsv(Csv):
    """Cells separated by tabs."""

    delimiter = "\t"
