"""Where the texts of `bei embed` come from: arguments, standard input, a text file, a JSONL file."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from openbei.errors import InputError

READ_BYTES = 1 << 20
EMPTY_HINT = "an empty text has no embedding"


@dataclass(frozen=True, slots=True)
class Source:
    """Texts, and what is known of them beforehand: their number, and a digest of where they come from."""

    texts: Iterable[str]
    num_texts: int | None
    digest: str | None


def from_arguments(texts: tuple[str, ...]) -> Source:
    """The texts of the command line. Raises InputError for an empty one."""
    if "" in texts:
        raise InputError(f"text {texts.index('') + 1} is empty", hint=EMPTY_HINT)
    return Source(texts, len(texts), hashlib.sha256(msgspec.json.encode(texts)).hexdigest())


def from_stdin(lines: BinaryIO, field: str | None) -> Source:
    """One text a line, or one JSON object a line where `field` is given. It cannot be read again, so has no digest."""
    return Source(parsed("standard input", lines, field), None, None)


def from_file(path: Path, field: str | None) -> Source:
    """A .jsonl file, its texts in `field` (default `text`), or any other file, one text a line.

    The file is read once for its digest and its number of lines, and again while texts are taken.
    """
    digest, num_lines, last = hashlib.sha256(), 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
            num_lines += block.count(b"\n")
            last = block[-1:]
    key = field or "text" if path.suffix in (".jsonl", ".ndjson") else field
    digest.update(repr(key).encode())
    return Source(_lines_of(path, key), num_lines + (last != b"\n"), digest.hexdigest())


def _lines_of(path: Path, field: str | None) -> Iterator[str]:
    with path.open("rb") as file:
        yield from parsed(str(path), file, field)


def parsed(name: str, lines: Iterable[bytes], field: str | None) -> Iterator[str]:
    """Texts of lines, in order. Raises InputError naming the line that is empty, no UTF-8, or no such JSON."""
    parse = _line if field is None else _json_line(field)
    for number, line in enumerate(lines, start=1):
        try:
            text = parse(line)
        except (UnicodeDecodeError, msgspec.MsgspecError, KeyError) as error:
            what = f"has no field {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{name}, line {number}: {what}", hint="see --field") from error
        if not text:
            raise InputError(f"{name}, line {number}: the text is empty", hint=EMPTY_HINT)
        yield text


def _line(line: bytes) -> str:
    return line.decode().rstrip("\r\n")


def _json_line(field: str) -> Callable[[bytes], str]:
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    return lambda line: msgspec.json.decode(decoder.decode(line)[field], type=str)
