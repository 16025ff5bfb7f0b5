""".npy: an array of the results, without other columns."""

import os
from collections.abc import Callable, Mapping
from typing import BinaryIO

import numpy as np

from openbei.bulk.outputs.output import Concatenated
from openbei.bulk.part import Columns, Part
from openbei.bulk.results import Scores, Types, Values, Vectors
from openbei.errors import InputError


class Npy(Concatenated):
    """An array [rows, width] of vectors, or [rows] of scores. Its header has the same size for any number of rows."""

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None:
        [*columns] = types.items()
        column, kind = columns[0]
        if len(columns) > 1 or not isinstance(kind, Vectors | Scores):
            what = f"a .npy file has one array; the results have the columns {', '.join(types)}"
            raise InputError(what, hint="write .parquet or .jsonl")
        self._column = column
        self._dtype = np.dtype(kind.dtype if isinstance(kind, Vectors) else np.float32).newbyteorder("<")
        self._shape = (kind.width,) if isinstance(kind, Vectors) else ()

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """See Output."""
        file.write(np.ascontiguousarray(results[self._column], self._dtype).data)

    def begin(self, file: BinaryIO) -> None:
        """See Output."""
        super().begin(file)
        self._write_header(0)
        self._start = file.tell()

    def end(self) -> None:
        """See Output."""
        num_bytes = self._file.seek(0, os.SEEK_END) - self._start
        self._write_header(num_bytes // (self._dtype.itemsize * int(np.prod(self._shape, dtype=int))))

    def _write_header(self, num_rows: int) -> None:
        self._file.seek(0)
        descr = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (num_rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
