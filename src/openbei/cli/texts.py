"""Input of `bei embed`: arguments, standard input, or a file of lines, JSON Lines, a JSON array, CSV or TSV.

Each text has its position in the input, and its id if the input has one.
"""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from openbei.errors import InputError

READ_BYTES = 1 << 20
MAX_CELL_CHARACTERS = 1 << 27
Blank = Literal["fail", "skip"]
BLANK_HINT = "an empty text has no embedding; use --blank skip to omit it"
DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
NO_TEXT = (
    ".parquet",
    ".arrow",
    ".feather",
    ".xlsx",
    ".xls",
    ".npy",
    ".npz",
    ".pdf",
    ".docx",
    ".zip",
    ".gz",
    ".bz2",
    ".xz",
    ".zst",
)
"""File name suffixes of binary formats."""


class Record(NamedTuple):
    """A text, its position in the input, counted from 0, and its id as JSON."""

    position: int
    text: str
    id: msgspec.Raw | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Options: the JSON field or the column with the text, the one with the id, and the handling of blank texts."""

    field: str | None = None
    column: str | None = None
    id_field: str = "id"
    blank: Blank = "fail"


@dataclass(frozen=True, slots=True)
class Source:
    """The texts, their number if it is known, and a digest of the input if it can be read again."""

    records: Iterable[Record]
    num_texts: int | None
    digest: str | None


def from_arguments(texts: tuple[str, ...], reading: Reading) -> Source:
    """The texts of the command line. Raises InputError for a blank one."""
    records = list(_without_blank((Record(i, text) for i, text in enumerate(texts)), "text", reading))
    return Source(records, len(records), hashlib.sha256(msgspec.json.encode([texts, reading.blank])).hexdigest())


def from_stdin(lines: BinaryIO, reading: Reading) -> Source:
    """A text per line, or a JSON object per line if a field is given. Without a digest, because it cannot be reread."""
    return Source(_parsed("standard input", lines, reading.field, reading), None, None)


def from_file(path: Path, reading: Reading) -> Source:
    """A file, read by its suffix: .jsonl, .json (an array), .csv and .tsv (with a header), else a text per line.

    It is read once for the digest and the number of lines, and again during iteration. Raises InputError for a
    binary file.
    """
    digest, num_lines, last = hashlib.sha256(), 0, b"\n"
    with path.open("rb") as file:
        _refuse(path, file.read(2))
        file.seek(0)
        while block := file.read(READ_BYTES):
            digest.update(block)
            num_lines += block.count(b"\n")
            last = block[-1:]
    digest.update(repr((path.suffix, reading)).encode())
    has_lines = path.suffix not in (*DELIMITERS, ".json")
    return Source(_records_of(path, reading), num_lines + (last != b"\n") if has_lines else None, digest.hexdigest())


def _refuse(path: Path, prefix: bytes) -> None:
    if path.suffix.lower() in NO_TEXT:
        raise InputError(f"{path} is not text", hint="--input reads lines, .jsonl, .json, .csv and .tsv")
    if prefix in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{path} is UTF-16; input must be UTF-8", hint="convert it with iconv -f UTF-16 -t UTF-8")


def _records_of(path: Path, reading: Reading) -> Iterator[Record]:
    if path.suffix in DELIMITERS:
        return _without_blank(_table(path, reading), f"{path}, row", reading)
    if reading.column is not None:
        raise InputError(f"--column is for {' and '.join(DELIMITERS)}, not for {path}", hint="for JSON, use --field")
    if path.suffix == ".json":
        return _without_blank(_array(path, reading), f"{path}, element", reading)
    return _lines_of(path, reading.field or "text" if path.suffix in JSON_LINES else reading.field, reading)


def _without_blank(records: Iterable[Record], what: str, reading: Reading) -> Iterator[Record]:
    """Skips blank texts, or raises InputError for them, as `reading` says."""
    for record in records:
        if record.text.strip():
            yield record
        elif reading.blank == "fail":
            raise InputError(f"{what} {record.position + 1}: the text is empty", hint=BLANK_HINT)


def _lines_of(path: Path, field: str | None, reading: Reading) -> Iterator[Record]:
    with path.open("rb") as file:
        yield from _parsed(str(path), file, field, reading)


def _parsed(name: str, lines: Iterable[bytes], field: str | None, reading: Reading) -> Iterator[Record]:
    """The texts of lines, in order. Raises InputError, naming the line, if it is blank or invalid UTF-8 or JSON."""
    parse = _line if field is None else _json_line(field, reading.id_field)

    def records() -> Iterator[Record]:
        for index, line in enumerate(lines):
            if field is not None and not line.strip():
                yield Record(index, "")
                continue
            with _Located(f"{name}, line {index + 1}"):
                text, record_id = parse(line.removeprefix(b"\xef\xbb\xbf") if index == 0 else line)
            yield Record(index, text, record_id)

    return _without_blank(records(), f"{name}, line", reading)


class _Located:
    """Converts decoding errors into InputError, with their place in the input."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError | msgspec.MsgspecError | KeyError):
            what = f"has no field {error}" if isinstance(error, KeyError) else str(error)
            hint = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "see --field"
            raise InputError(f"{self._where}: {what}", hint=hint) from error


Parsed = tuple[str, msgspec.Raw | None]


def _line(line: bytes) -> Parsed:
    return line.decode().rstrip("\r\n"), None


def _json_line(field: str, id_field: str) -> Callable[[bytes], Parsed]:
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def parse(line: bytes) -> Parsed:
        members = decoder.decode(line)
        return msgspec.json.decode(members[field], type=str), members.get(id_field)

    return parse


def _array(path: Path, reading: Reading) -> Iterator[Record]:
    """The elements of a JSON array: strings, or objects with the text in a field."""
    parse = _json_line(reading.field or "text", reading.id_field)
    try:
        elements = msgspec.json.decode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"), type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", hint="a .json file must be an array; use .jsonl for lines") from error
    for index, element in enumerate(elements):
        with _Located(f"{path}, element {index + 1}"):
            is_text = bytes(element)[:1] == b'"'
            text, record_id = (msgspec.json.decode(element, type=str), None) if is_text else parse(bytes(element))
        yield Record(index, text, record_id)


def _table(path: Path, reading: Reading) -> Iterator[Record]:
    """The rows of a CSV or TSV file after its header, counted from 0."""
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=DELIMITERS[path.suffix], strict=True)
        try:
            names = next(rows, [])
            at = _column(path, names, reading.column)
            id_at = names.index(reading.id_field) if reading.id_field in names else None
            for index, row in enumerate(row for row in rows if row):
                if len(row) != len(names):
                    what = f"has {len(row)} columns; the header has {len(names)}"
                    raise InputError(f"{path}, row {index + 1} (line {rows.line_num}) {what}")
                record_id = None if id_at is None else msgspec.Raw(msgspec.json.encode(row[id_at]))
                yield Record(index, row[at], record_id)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}, line {rows.line_num + 1}: {error}", hint="the file must be UTF-8") from error


def _column(path: Path, names: list[str], given: str | None) -> int:
    name: Any = given or ("text" if len(names) != 1 else names[0])
    if name not in names:
        known = ", ".join(names) or "none: the file is empty"
        raise InputError(f"{path} has no column {name!r}; its columns are {known}", hint="choose one with --column")
    return names.index(name)
