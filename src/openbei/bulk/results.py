"""Columns of results: their types, and their values as JSON and as Arrow arrays.

Vectors      numpy [n, width]
Scores       float32 [n]
Labels       a list of strings
Lists        for each row a list: of numbers, or of records with the given members
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from openbei.json_floats import json_row

Values = Any
"""The values of a column."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Arrays of the same size, of a numpy dtype."""

    width: int
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Scores:
    """A number for each row."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A string for each row."""


@dataclass(frozen=True, slots=True)
class Lists:
    """A list of any length, of a numpy dtype, `str`, or records: pairs of a member and its type."""

    items: str | tuple[tuple[str, str], ...]


Type = Vectors | Scores | Labels | Lists
Types = dict[str, Type]


def empty(column: Type) -> Values:
    """The values of no rows."""
    return np.empty((0, column.width), column.dtype) if isinstance(column, Vectors) else []


def as_json(column: Type, values: Values) -> Iterable[object]:
    """Each value as one that msgspec encodes. Float vectors do not become Python floats, which would be slow."""
    if isinstance(column, Vectors) and np.issubdtype(values.dtype, np.floating):
        return (msgspec.Raw(json_row(row)) for row in np.ascontiguousarray(values, np.float32))
    listed: list[object] = values.tolist() if isinstance(values, np.ndarray) else values
    return listed


def as_arrow(column: Type, values: Values) -> Any:  # noqa: ANN401
    """The values as a pyarrow.Array. That of vectors shares their memory."""
    import pyarrow as pa

    if isinstance(column, Vectors):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, type=arrow_type(column))
    return pa.array(values, arrow_type(column))


def arrow_type(column: Type) -> Any:  # noqa: ANN401
    """The type of `as_arrow`: FixedSizeList for vectors."""
    import pyarrow as pa

    match column:
        case Vectors(width, dtype):
            return pa.list_(pa.field("element", _scalar(dtype), nullable=False), width)
        case Scores():
            return pa.float32()
        case Labels():
            return pa.string()
        case Lists(items):
            if isinstance(items, str):
                return pa.list_(pa.field("element", _scalar(items), nullable=False))
            return pa.list_(pa.struct([(name, _scalar(dtype)) for name, dtype in items]))


def _scalar(dtype: str) -> Any:  # noqa: ANN401
    import pyarrow as pa

    return pa.string() if dtype == "str" else pa.from_numpy_dtype(dtype)
