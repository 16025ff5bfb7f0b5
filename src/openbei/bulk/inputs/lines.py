"""Plain text, a text per line, and texts given as arguments: rows with the columns `index` and `text`."""

from collections.abc import Iterator
from typing import BinaryIO

from openbei.bulk.inputs.records import Row, count_lines, not_utf8, without_bom
from openbei.bulk.part import Kind, Reading, text_columns
from openbei.errors import InputError

KINDS: dict[str, Kind] = {"index": "int64", "text": "string"}


class Lines:
    """A text per line."""

    row_name = "line"

    def __init__(self, name: str, reading: Reading) -> None:
        self._name, self._reading = name, reading
        if text_columns(name, [*KINDS], reading) != ["text"]:
            raise InputError(f"{name} has one text per line, in the column 'text'", hint="omit --column")

    def text_columns(self) -> list[str]:
        """See Format."""
        return ["text"]

    def rows(self, file: BinaryIO | None) -> Iterator[Row]:
        """See Format."""
        for index, line in enumerate(file or ()):
            try:
                text = (without_bom(line) if index == 0 else line).decode().rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise not_utf8(f"{self._name}, line {index + 1}", error) from error
            yield self._row(index, text)

    def _row(self, index: int, text: str) -> Row:
        kept = {"index": index, "text": text}
        return Row([text], {name: value for name, value in kept.items() if self._reading.keeps(name)})

    def count(self, file: BinaryIO | None) -> int | None:
        """See Format."""
        return count_lines(file)

    def kinds(self, file: BinaryIO | None) -> dict[str, Kind]:
        """See Format."""
        return {name: kind for name, kind in KINDS.items() if self._reading.keeps(name)}


class Arguments(Lines):
    """Texts in memory."""

    row_name = "text"

    def __init__(self, texts: tuple[str, ...], reading: Reading) -> None:
        super().__init__("the command line", reading)
        self._texts = texts

    def rows(self, file: BinaryIO | None) -> Iterator[Row]:
        """See Format."""
        return (self._row(index, text) for index, text in enumerate(self._texts))

    def count(self, file: BinaryIO | None) -> int | None:
        """See Format."""
        return len(self._texts)
