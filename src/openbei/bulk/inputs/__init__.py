"""Inputs by format: a file by its suffix, standard input, or the arguments of a command."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from openbei.bulk.inputs import arrow_file, json_text, lines, table
from openbei.bulk.inputs.records import Format, RecordSource
from openbei.bulk.part import Reading, Source
from openbei.errors import InputError

FORMATS = {
    ".txt": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
}
"""Suffix -> format. Other files are text, unless they are in `BINARY`."""

BINARY = frozenset({".xlsx", ".xls", ".npy", ".npz", ".pdf", ".docx", ".zip", ".gz", ".bz2", ".xz", ".zst"})
"""Suffixes of files that cannot be read."""

NAMES = ("text", "jsonl", "json", "csv", "tsv", "parquet", "arrow")
"""The formats of all commands."""

OPENAI_BATCH = "openai-batch"
"""A format of `bei embed`; see `bulk.openai_batch`."""

RECORDS: dict[str, Callable[[str, Reading], Format]] = {
    "text": lines.Lines,
    "jsonl": json_text.Lines,
    "json": json_text.Array,
    "csv": table.Csv,
    "tsv": table.Tsv,
}
"""Formats that are read row by row."""


def from_file(path: Path, reading: Reading, format_name: str | None = None) -> Source:
    """A file, in the format of its suffix if none is given. Raises InputError for a format that cannot be read."""
    if format_name is None:
        format_name = FORMATS.get(path.suffix.lower(), "text")
        if path.suffix.lower() in BINARY:
            raise InputError(f"{path} is not text", hint=f"--input reads {', '.join(NAMES)}")
    if format_name not in NAMES:
        raise InputError(f"{format_name} is a format of `bei embed`")
    if format_name in ("parquet", "arrow"):
        return arrow_file.ArrowFile(path, format_name, reading)
    with path.open("rb") as file:
        if file.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise InputError(f"{path} is UTF-16; input must be UTF-8", hint="convert it with iconv -f UTF-16 -t UTF-8")
    return RecordSource(str(path), RECORDS[format_name](str(path), reading), reading, path)


def from_stream(stream: BinaryIO, reading: Reading, format_name: str | None = None) -> Source:
    """Standard input, by default a text per line. It cannot be read again, and so has no digest."""
    format_name = format_name or "text"
    if format_name not in ("text", "jsonl", "csv", "tsv"):
        raise InputError(f"{format_name} cannot be read from standard input", hint="give a file with --input")
    name = "standard input"
    return RecordSource(name, RECORDS[format_name](name, reading), reading, stream)


def from_arguments(texts: tuple[str, ...], reading: Reading) -> Source:
    """The texts of a command line."""
    return RecordSource("the command line", lines.Arguments(texts, reading), reading, None)
