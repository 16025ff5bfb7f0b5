"""JSON: an object per line, or an array of objects or texts. Members are copied as they are."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

from openbei.bulk.inputs.records import Row, count_lines, not_utf8, without_bom
from openbei.bulk.part import Kind, Reading
from openbei.errors import InputError

Members = dict[str, msgspec.Raw]

_KINDS: dict[bytes, Kind] = {b'"': "string", b"t": "bool", b"f": "bool", b"{": "json", b"[": "json"}


class Lines:
    """An object per line. A blank line counts as an object without a text."""

    row_name = "line"

    def __init__(self, name: str, reading: Reading) -> None:
        self._name, self._reading = name, reading
        self._decode = msgspec.json.Decoder(Members).decode

    def text_columns(self) -> list[str]:
        """See Format."""
        return [*(self._reading.columns or ("text",))]

    def rows(self, file: BinaryIO | None) -> Iterator[Row]:
        """See Format."""
        for index, members in enumerate(self._objects(file)):
            texts = [self._text(index, members, column) for column in self.text_columns()]
            yield Row(texts, {name: value for name, value in members.items() if self._reading.keeps(name)})

    def _objects(self, file: BinaryIO | None) -> Iterator[Members]:
        for index, line in enumerate(file or ()):
            yield self._object(index, without_bom(line) if index == 0 else line)

    def _object(self, index: int, content: bytes) -> Members:
        if not content.strip():
            return {column: msgspec.Raw(b"null") for column in self.text_columns()}
        try:
            return self._decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(index, str(error), error) from error

    def _text(self, index: int, members: Members, column: str) -> str | None:
        if column not in members:
            names = ", ".join(members) or "none"
            is_batch = {"custom_id", "body"} <= members.keys()
            raise InputError(
                f"{self._name}, {self.row_name} {index + 1}: there is no field {column!r}; the fields are {names}",
                hint="use --input-format openai-batch" if is_batch else "choose one with --column",
            )
        try:
            return msgspec.json.decode(members[column], type=str | None)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._error(index, f"field {column!r}: {error}", error) from error

    def _error(self, index: int, what: str, error: Exception) -> InputError:
        where = f"{self._name}, {self.row_name} {index + 1}"
        if isinstance(error, UnicodeDecodeError):
            return not_utf8(where, error)
        return InputError(f"{where}: {what}", hint="a text must be a JSON string; choose its field with --column")

    def count(self, file: BinaryIO | None) -> int | None:
        """See Format."""
        return count_lines(file)

    def kinds(self, file: BinaryIO | None) -> dict[str, Kind]:
        """See Format. Reads all objects, because each may have other members."""
        if file is None:
            raise InputError(
                f"the columns of {self._name} are not known before it is read",
                hint="give a file with --input, or write .jsonl",
            )
        return self._kinds(self._objects(file))

    def _kinds(self, objects: Iterable[Members]) -> dict[str, Kind]:
        found: dict[str, Kind | None] = {}
        for members in objects:
            for name, value in members.items():
                found[name] = _common_kind(found.get(name), _kind(bytes(value)))
        for name in self._reading.keep or ():
            if found and name not in found:
                names = ", ".join(found)
                what = f"no {self.row_name} of {self._name} has a field {name!r}; the fields are {names}"
                raise InputError(what, hint="choose fields with --keep")
        return {name: kind or "json" for name, kind in found.items() if self._reading.keeps(name)}


class Array(Lines):
    """An array of objects, or of texts, which are rows with the columns `index` and `text`. It is read at once."""

    row_name = "element"

    def _objects(self, file: BinaryIO | None) -> Iterator[Members]:
        content = without_bom(file.read() if file else b"[]")
        try:
            elements = msgspec.json.decode(content, type=list[msgspec.Raw])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            hint = "a .json file must be an array; use .jsonl for lines"
            raise InputError(f"{self._name}: {error}", hint=hint) from error
        for index, element in enumerate(elements):
            if bytes(element)[:1] == b'"':
                yield {"index": msgspec.Raw(b"%d" % index), "text": element}
            else:
                yield self._object(index, msgspec.json.format(bytes(element), indent=-1))  # may have line breaks

    def count(self, file: BinaryIO | None) -> int | None:
        """See Format."""
        return sum(1 for _ in self._objects(file))


def _kind(value: bytes) -> Kind | None:
    """The type of a JSON value; None for null."""
    if value == b"null":
        return None
    if kind := _KINDS.get(value[:1]):
        return kind
    is_integer = value.lstrip(b"-").isdigit() and -(1 << 63) <= int(value) < 1 << 63
    return "int64" if is_integer else "float64"


def _common_kind(first: Kind | None, second: Kind | None) -> Kind | None:
    """A type for values of both."""
    if first == second or first is None or second is None:
        return first or second
    return "float64" if {first, second} == {"int64", "float64"} else "json"
