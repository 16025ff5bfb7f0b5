"""CSV and TSV with a header. Lists and objects are JSON in a cell."""

import csv
import io
from collections.abc import Callable, Mapping
from typing import BinaryIO

import msgspec

from openbei.bulk.outputs.json_lines import ENCODER
from openbei.bulk.outputs.output import Concatenated, check_names, records_of
from openbei.bulk.part import Columns, Part
from openbei.bulk.results import Types, Values, as_json


class Csv(Concatenated):
    """Cells separated by commas."""

    delimiter = ","

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None:
        columns = kept()
        self._kept: list[str] = [*(columns if isinstance(columns, dict) else columns.names)]
        check_names(name, self._kept, types)
        self._types = types
        self.header = self._rows([[*self._kept, *types]])

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """See Output."""
        columns = [as_json(kind, results[name]) for name, kind in self._types.items()]
        rows = zip(records_of(part), *columns, strict=True)
        file.write(
            self._rows([[*map(_cell, (*(record.get(n) for n in self._kept), *values))] for record, *values in rows])
        )

    def _rows(self, rows: list[list[str]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()


class Tsv(Csv):
    """Cells separated by tabs."""

    delimiter = "\t"


def _cell(value: object) -> str:
    """A value as text: empty for null, JSON for what is not a string."""
    encoded = ENCODER.encode(value)
    if encoded[:1] == b'"':
        return msgspec.json.decode(encoded, type=str)
    return "" if encoded == b"null" else encoded.decode()
