"""Parquet and Arrow IPC files (files or streams), read in slices, so that memory does not depend on their size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openbei.bulk import arrow
from openbei.bulk.part import PART_ROWS, Part, Reading, has_texts, text_columns
from openbei.digests import file_digest
from openbei.errors import InputError

BUFFER_BYTES = 1 << 20


class ArrowFile:
    """A file with a schema. Columns keep their types."""

    row_name = "row"

    def __init__(self, path: Path, format_name: str, reading: Reading) -> None:
        self._pa = arrow.load(str(path))
        self.name, self._path, self._reading = str(path), path, reading
        self._opened = self._parquet if format_name == "parquet" else self._ipc
        with self._opened() as (schema, self._num_rows, _):
            self._texts = text_columns(self.name, schema.names, reading)
            for column in self._texts:
                self._check_type(column, schema.field(column).type)
            kept = [name for name in schema.names if reading.keeps(name)]
            self._schema = self._pa.schema([schema.field(name) for name in kept], schema.metadata)

    def _check_type(self, column: str, given: Any) -> None:  # noqa: ANN401
        types = self._pa.types
        inner = given.value_type if types.is_dictionary(given) else given
        if not any(is_text(inner) for is_text in (types.is_string, types.is_large_string, types.is_string_view)):
            what = f"{self.name}, column {column!r}: its type is {given}; texts must be strings"
            raise InputError(what, hint="choose a column with --column")

    def digest(self) -> str | None:
        """See Source."""
        return file_digest(self._path)

    def num_rows(self) -> int | None:
        """See Source."""
        return int(self._num_rows)

    def columns(self) -> Any:  # noqa: ANN401
        """See Source."""
        return self._schema

    def parts(self, first: int) -> Iterator[Part]:
        """See Source."""
        with self._opened() as (_, _, batches_from):
            position = first * PART_ROWS
            for table in self._slices(batches_from(position)):
                yield self._part(table, position)
                position += table.num_rows

    def _slices(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The rows in tables of PART_ROWS."""
        pending = None
        for batch in batches:
            table = self._pa.Table.from_batches([batch])
            pending = table if pending is None else self._pa.concat_tables([pending, table])
            while pending.num_rows >= PART_ROWS:
                yield pending.slice(0, PART_ROWS)
                pending = pending.slice(PART_ROWS)
        if pending is not None and pending.num_rows:
            yield pending

    def _part(self, table: Any, position: int) -> Part:  # noqa: ANN401
        columns = [self._text_values(table.column(name), name, position) for name in self._texts]
        used = [
            index
            for index, texts in enumerate(zip(*columns, strict=True))
            if has_texts(texts, self._texts, f"{self.name}, row {position + index + 1}", self._reading.blank)
        ]
        kept = table.select(self._schema.names)
        if len(used) < table.num_rows:
            columns, kept = (
                [[column[i] for i in used] for column in columns],
                kept.take(self._pa.array(used, self._pa.int64())),
            )
        return Part([position + index for index in used], columns, kept)

    def _text_values(self, column: Any, name: str, position: int) -> list[str]:  # noqa: ANN401
        """The texts of a column, some of which may be null. Raises InputError for bytes that are not UTF-8."""
        try:
            values: list[str] = column.to_pylist()
            return values
        except UnicodeDecodeError:
            for index, value in enumerate(column):
                try:
                    value.as_py()
                except UnicodeDecodeError as error:
                    what = f"{self.name}, row {position + index + 1}, column {name!r}: {error}"
                    raise InputError(what, hint="texts must be UTF-8") from error
            raise

    @contextmanager
    def _parquet(self) -> Iterator[tuple[Any, int, Any]]:
        """The schema, the number of rows, and a function that returns the batches from a row on."""
        from pyarrow import parquet

        with self._readable("Parquet"), parquet.ParquetFile(self._path, buffer_size=BUFFER_BYTES) as file:

            def batches(first: int) -> Iterator[Any]:
                groups = [*range(file.metadata.num_row_groups)]
                while groups and first >= file.metadata.row_group(groups[0]).num_rows:
                    first -= file.metadata.row_group(groups.pop(0)).num_rows
                read = file.iter_batches(PART_ROWS, groups, self._wanted(file.schema_arrow), use_threads=False)
                return _skip(read, first)

            yield file.schema_arrow, file.metadata.num_rows, batches

    @contextmanager
    def _ipc(self) -> Iterator[tuple[Any, int, Any]]:
        """As `_parquet`. A file is mapped; a stream is read once more to count its rows."""
        ipc = self._pa.ipc
        with self._readable("Arrow"), self._pa.memory_map(str(self._path)) as mapped:
            is_file = mapped.read(6) == b"ARROW1"
            mapped.seek(0)
            with ipc.open_file(mapped) if is_file else ipc.open_stream(mapped) as file:
                schema = file.schema
                read = (file.get_batch(i) for i in range(file.num_record_batches)) if is_file else iter(file)
                num_rows = sum(batch.num_rows for batch in read)

            def batches(first: int) -> Iterator[Any]:
                mapped.seek(0)
                with ipc.open_file(mapped) if is_file else ipc.open_stream(mapped) as file:
                    read = (file.get_batch(i) for i in range(file.num_record_batches)) if is_file else iter(file)
                    wanted = self._wanted(schema)
                    yield from (batch.select(wanted) for batch in _skip(read, first))

            yield schema, num_rows, batches

    def _wanted(self, schema: Any) -> list[str]:  # noqa: ANN401
        return [name for name in schema.names if name in self._texts or self._reading.keeps(name)]

    @contextmanager
    def _readable(self, kind: str) -> Iterator[None]:
        """Converts errors of pyarrow into InputError."""
        try:
            yield
        except self._pa.ArrowException as error:
            raise InputError(f"{self._path} cannot be read as {kind}: {error}", hint="is the file complete?") from error


def _skip(batches: Iterator[Any], num_rows: int) -> Iterator[Any]:
    """The batches without their first rows."""
    for batch in batches:
        if num_rows < batch.num_rows:
            yield batch.slice(num_rows)
        num_rows = max(0, num_rows - batch.num_rows)
