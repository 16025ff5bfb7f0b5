"""Decoding of request bodies to structs: the limit on values, the fields that are set, and errors that name a field.

Unknown fields of a request are ignored, as in OpenAI's server, because clients can send anything in `extra_body`. Known
fields are handled in `decisions`. A field that is null is treated as absent.
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
"""Bytes of a body that are counted at a time."""

_FIELDS = msgspec.json.Decoder(Fields)
_FIELD = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")


class MalformedBodyError(InputError):
    """A body that is not JSON."""


def check_size(body: bytes) -> None:
    """Raise InputError for a body of more than MAX_ELEMENTS values, before it is decoded.

    The number of values is estimated by the commas and opening brackets outside of strings.
    """
    if len(body) <= MAX_ELEMENTS or not _has_more(body):
        return
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * MAX_ELEMENTS or _has_more(b"".join(plain.split(b'"')[::2])):
        raise InputError(
            f"the body has more than {MAX_ELEMENTS} values, counting each text, token id and list",
            hint="send it in several requests",
        )


def _has_more(content: bytes) -> bool:
    """Whether there are more than MAX_ELEMENTS commas and brackets. Stops reading there."""
    count = 0
    for start in range(0, len(content), WINDOW_BYTES):
        count += sum(content.count(mark, start, start + WINDOW_BYTES) for mark in (b",", b"[", b"{"))
        if count > MAX_ELEMENTS:
            return True
    return False


def decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a request. Raises MalformedBodyError for invalid JSON, InputError with the invalid field."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        field = _FIELD.search(str(error)) or _MISSING.search(str(error))
        param = field["field"] or None if field else None
        message = _FIELD.sub("", str(error))
        if len(message) > MAX_MESSAGE:  # the message repeats the value
            message = f"{message[:MAX_MESSAGE]} …"
        raise InputError(f"{param}: {message}" if param else message, param=param) from None
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not valid UTF-8: {error.reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        if (param := _half_surrogate(body)) is not None:
            raise InputError(
                f"{param or 'a name'} has half a surrogate pair (\\ud800 to \\udfff), which is not a character",
                param=param or None,
                hint="encode characters above \\uffff as a surrogate pair, or as UTF-8",
            ) from None
        raise MalformedBodyError(f"the body is not JSON: {error}") from None


def non_null_fields(body: bytes | msgspec.Raw, param: str | None = None) -> Fields:
    """The non-null fields of a request, or of its object `param`. Raises the errors of `decode`."""
    try:
        fields = _FIELDS.decode(body)
    except RecursionError:
        return {}  # the decoder of the request reports the field
    except (msgspec.DecodeError, UnicodeDecodeError):
        fields = _named(body, param)
    return {name: value for name, value in fields.items() if bytes(value) != b"null"}


def _named(body: bytes | msgspec.Raw, param: str | None) -> Fields:
    """Decode an object of a request, with its path in errors."""
    try:
        return decode(body, _FIELDS)
    except MalformedBodyError:
        raise
    except InputError as error:
        raise InputError(f"{param}: {error.message}" if param else error.message, param=param or error.param) from None


def _half_surrogate(body: bytes | msgspec.Raw) -> str | None:
    """The field with a lone surrogate, "" if a field's name has one, None if there is none."""
    try:
        value = json.loads(bytes(body))  # json accepts lone surrogates
    except (ValueError, RecursionError):
        return None
    return next(_halves(value, ""), None)


def _halves(value: object, at: str) -> Iterator[str]:
    """Paths of texts with a lone surrogate."""
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
