"""pyarrow, which is optional, and conversions between records and its tables."""

from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

import msgspec

from openbei.bulk.part import Kind, Record
from openbei.errors import InputError


def load(what: str) -> Any:  # noqa: ANN401
    """The module pyarrow. Raises InputError if it is not installed; `what` is the file that needs it."""
    try:
        import pyarrow
    except ImportError as error:
        raise InputError(f"{what} needs pyarrow, which is not installed", hint="pip install 'openbei[bulk]'") from error
    return pyarrow


def schema_of(kinds: Mapping[str, Kind]) -> Any:  # noqa: ANN401
    """The pyarrow.Schema of columns."""
    import pyarrow as pa

    types = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in kinds.items()])


def records_of_table(table: Any) -> list[Record]:  # noqa: ANN401
    """The rows of a pyarrow.Table. Times in nanoseconds become strings, because Python has no type for them."""
    columns = [column.cast(_without_nanoseconds(column.type)) for column in table.columns]
    records: list[Record] = type(table).from_arrays(columns, names=table.column_names).to_pylist()
    return records


def _without_nanoseconds(kind: Any) -> Any:  # noqa: ANN401
    """A pyarrow.DataType with strings instead of times in nanoseconds, also in nested types, and no dictionaries."""
    import pyarrow as pa

    is_a = pa.types
    if is_a.is_temporal(kind) and getattr(kind, "unit", None) == "ns":
        return pa.string()
    if is_a.is_dictionary(kind):
        return _without_nanoseconds(kind.value_type)
    if is_a.is_map(kind):
        return pa.map_(_without_nanoseconds(kind.key_type), _without_nanoseconds(kind.item_type))
    if is_a.is_fixed_size_list(kind):
        return pa.list_(_without_nanoseconds(kind.value_type), kind.list_size)
    if is_a.is_list(kind):
        return pa.list_(_without_nanoseconds(kind.value_type))
    if is_a.is_large_list(kind):
        return pa.large_list(_without_nanoseconds(kind.value_type))
    if is_a.is_struct(kind):
        return pa.struct([field.with_type(_without_nanoseconds(field.type)) for field in kind])
    return kind


def table_of(records: Items[Record], kinds: Mapping[str, Kind]) -> Any:  # noqa: ANN401
    """Records as a pyarrow.Table with all columns of `kinds`; null where a record has no such member."""
    import pyarrow as pa

    schema = schema_of(kinds)
    columns = [[_value(record.get(name), kind) for record in records] for name, kind in kinds.items()]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema) if arrays else pa.table({"": pa.nulls(len(records))}).select([])


def _value(value: object, kind: Kind) -> object:
    """A member as a value of its column."""
    if not isinstance(value, msgspec.Raw):
        return value
    if kind == "json":
        return None if value == b"null" else bytes(value).decode()
    return msgspec.json.decode(value, type=float | None) if kind == "float64" else msgspec.json.decode(value)
