"""JSON Lines: the members of the input, then the results."""

from collections.abc import Callable, Mapping
from typing import BinaryIO

import msgspec

from openbei.bulk.outputs.output import Concatenated, check_names, records_of
from openbei.bulk.part import Columns, Part
from openbei.bulk.results import Types, Values, as_json

ENCODER = msgspec.json.Encoder(enc_hook=str)
"""Values of Arrow files that JSON does not have become strings."""


class JsonLines(Concatenated):
    """An object per line."""

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None:
        self._name, self._types = name, types

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """See Output."""
        columns = [as_json(kind, results[name]) for name, kind in self._types.items()]
        encode = ENCODER.encode
        for record, *values in zip(records_of(part), *columns, strict=True):
            check_names(self._name, record, self._types)
            row = {**record, **dict(zip(self._types, values, strict=True))}
            file.write(encode(row) + b"\n")
