"""Parquet and Arrow IPC files with a schema. Parts are Arrow IPC; each becomes a row group or a record batch."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from openbei.bulk import arrow
from openbei.bulk.outputs.output import check_names
from openbei.bulk.part import Columns, Part
from openbei.bulk.results import Types, Values, Vectors, arrow_type, as_arrow


class _ArrowFile:
    """A file of tables with the columns to copy, then the results, which are never null."""

    def __init__(self, name: str, kept: Callable[[], Columns], types: Types) -> None:
        self._pa = arrow.load("a Parquet or Arrow file")
        self._kinds = kept()
        kept_schema = arrow.schema_of(self._kinds) if isinstance(self._kinds, dict) else self._kinds
        check_names(name, kept_schema.names, types)
        results = [self._pa.field(column, arrow_type(kind), nullable=False) for column, kind in types.items()]
        self._types = types
        self._schema = self._pa.schema([*map(self._stored, kept_schema), *results], kept_schema.metadata)
        self._writer: Any = None

    def _stored(self, field: Any) -> Any:  # noqa: ANN401
        """A field to copy, as it is stored."""
        return field

    def write_part(self, file: BinaryIO, part: Part, results: Mapping[str, Values]) -> None:
        """See Output."""
        kept = arrow.table_of(part.kept, self._kinds) if isinstance(part.kept, list) else part.kept
        columns = [as_arrow(kind, results[name]) for name, kind in self._types.items()]
        fields = [*zip(self._schema, (*kept.columns, *columns), strict=True)]
        arrays = [column if column.type == field.type else column.cast(field.type) for field, column in fields]
        table = self._pa.Table.from_arrays(arrays, schema=self._schema).combine_chunks()
        options = self._pa.ipc.IpcWriteOptions(unify_dictionaries=True)
        with self._pa.ipc.new_file(file, self._schema, options=options) as writer:
            writer.write_table(table)

    def add(self, part: Path) -> None:
        """See Output."""
        with self._pa.memory_map(str(part)) as mapped, self._pa.ipc.open_file(mapped) as file:
            self._writer.write_table(file.read_all())

    def end(self) -> None:
        """See Output."""
        self._writer.close()


class Ipc(_ArrowFile):
    """An Arrow IPC file. Dictionaries are decoded, because a file has only one for each column."""

    def _stored(self, field: Any) -> Any:  # noqa: ANN401
        is_dictionary = self._pa.types.is_dictionary(field.type)
        return field.with_type(field.type.value_type) if is_dictionary else field

    def begin(self, file: BinaryIO) -> None:
        """See Output."""
        self._writer = self._pa.ipc.new_file(file, self._schema)


class Parquet(_ArrowFile):
    """A Parquet file. Vectors are neither compressed nor encoded with a dictionary, because that saves nothing."""

    def begin(self, file: BinaryIO) -> None:
        """See Output."""
        from pyarrow import parquet

        others = [path for path in self._leaf_paths() if not self._is_vector(path)]
        compression = dict.fromkeys(others, "zstd") or "none"
        self._writer = parquet.ParquetWriter(
            file, self._schema, compression=compression, use_dictionary=others, write_statistics=others
        )

    def _leaf_paths(self) -> list[str]:
        """The paths of the columns that Parquet stores, which has several for a nested column."""
        from pyarrow import parquet

        empty = self._pa.BufferOutputStream()
        parquet.write_table(self._schema.empty_table(), empty)
        schema = parquet.ParquetFile(self._pa.BufferReader(empty.getvalue())).schema
        return [schema.column(i).path for i in range(len(schema))]

    def _is_vector(self, path: str) -> bool:
        return any(path.startswith(f"{name}.list.") for name, kind in self._types.items() if isinstance(kind, Vectors))
