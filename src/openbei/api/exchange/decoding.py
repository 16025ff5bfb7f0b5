"""From a request's body to structs: how much a body may hold, which fields it gives, which one is wrong.

Unknown fields of a request are ignored, as OpenAI's server does: its clients send whatever `extra_body` holds. What is
done with the known ones is in `decisions`. A field that is null is one that is not given.
"""

import json
import re
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from openbei.api.limits import MAX_ELEMENTS
from openbei.errors import InputError
from openbei.serving.library import SURROGATE

T = TypeVar("T")

Fields = dict[str, msgspec.Raw]
"""A request's fields, undecoded."""

MAX_MESSAGE = 300

WINDOW_BYTES = 1 << 20
"""How much of a body is counted at a time."""

_FIELDS = msgspec.json.Decoder(Fields)
_FIELD = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")


class MalformedBodyError(InputError):
    """A body that is not JSON."""


def check_size(body: bytes) -> None:
    """Raise InputError for a body of more than MAX_ELEMENTS, counted before an object is made of any.

    What counts is each comma and opening bracket outside of strings: as many as values, but for a few.
    """
    if not _has_more(body):
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * MAX_ELEMENTS or _has_more(b"".join(plain.split(b'"')[::2])):
        raise InputError(
            f"the body has more than {MAX_ELEMENTS} values, counting each text, token id and list",
            hint="send it in several requests",
        )


def _has_more(content: bytes) -> bool:
    """Whether there are more marks than MAX_ELEMENTS; content is read no further than that."""
    count = 0
    for start in range(0, len(content), WINDOW_BYTES):
        count += sum(content.count(mark, start, start + WINDOW_BYTES) for mark in (b",", b"[", b"{"))
        if count > MAX_ELEMENTS:
            return True
    return False


def decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a request. Raises MalformedBodyError where it is no JSON, InputError naming the field that is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error)) or _MISSING.search(str(error))
        param = field["field"] or None if field else None
        message = _FIELD.sub("", str(error))
        if len(message) > MAX_MESSAGE:  # it repeats what it got
            message = f"{message[:MAX_MESSAGE]} …"
        raise InputError(f"{param}: {message}" if param else message, param=param) from None
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not valid UTF-8: {error.reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        if (param := _half_surrogate(body)) is not None:
            raise InputError(
                f"{param or 'a name'} has half a surrogate pair (\\ud800 to \\udfff), which is not a character",
                param=param or None,
                hint="encode what is above \\uffff as both halves, or as UTF-8",
            ) from None
        raise MalformedBodyError(f"the body is not JSON: {error}") from None


def given_fields(body: bytes | msgspec.Raw, param: str | None = None) -> Fields:
    """The fields of a request, or of its object `param`, that are not null. Raises as `decode` does."""
    try:
        fields = _FIELDS.decode(body)
    except RecursionError:
        return {}  # who decodes it knows which field that is
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = _named(body, param)
    return {name: value for name, value in fields.items() if bytes(value) != b"null"}


def _named(body: bytes | msgspec.Raw, param: str | None) -> Fields:
    """The same, with an error that names the object."""
    try:
        return decode(body, _FIELDS)
    except MalformedBodyError:
        raise
    except InputError as error:
        raise InputError(f"{param}: {error.message}" if param else error.message, param=param or error.param) from None


def _half_surrogate(body: bytes | msgspec.Raw) -> str | None:
    """The field that has half a surrogate pair, "" for a field's name; None if the body is wrong for another reason."""
    try:
        value = json.loads(bytes(body))  # which takes them as they are
    except (ValueError, RecursionError):
        return None
    return next(_halves(value, ""), None)


def _halves(value: object, at: str) -> Iterator[str]:
    """Paths of texts that have one."""
    if isinstance(value, str) and SURROGATE.search(value):
        yield at
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _halves(item, f"{at}[{i}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            if SURROGATE.search(name):
                yield ""
            yield from _halves(item, f"{at}.{name}" if at else name)
