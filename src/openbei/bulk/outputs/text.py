"""Plain text: the first result of each row on a line, without other columns."""

from collections.abc import Callable, Mapping
from typing import BinaryIO

import msgspec

from openbei.bulk.outputs.output import Concatenated
from openbei.bulk.part import Columns, Part
from openbei.bulk.results import Types, Values, Vectors, as_json


class Text(Concatenated):
    """The numbers of a vector, separated by spaces; a number, a label, or a list as JSON."""

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None:
        self._column, self._type = next(iter(types.items()))

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """See Output."""
        for value in as_json(self._type, results[self._column]):
            line = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
            if isinstance(self._type, Vectors):
                line = line[1:-1].replace(b",", b" ")
            file.write(line.replace(b"\n", b" ") + b"\n")
