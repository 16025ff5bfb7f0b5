"""The JSON that goes over the wire, as structs by dialect; here: what errors look like, and decoding that names fields.

Unknown fields of a request are ignored, as OpenAI's server does: its clients send whatever `extra_body` holds.
"""

import re
from typing import TypeVar

import msgspec

from openbei.errors import InputError

T = TypeVar("T")

MAX_MESSAGE = 300


class MalformedBodyError(InputError):
    """A body that is not JSON."""


class Failure(msgspec.Struct, frozen=True):
    """What went wrong; `param` names the request's field."""

    message: str
    type: str
    param: str | None
    code: str


class FailureBody(msgspec.Struct, frozen=True):
    """OpenAI's error shape."""

    error: Failure


class TeiFailure(msgspec.Struct, frozen=True):
    """TEI's error shape; `error_type` is Validation, Empty, Backend, Overloaded, Unhealthy or Timeout."""

    error: str
    error_type: str


class CohereFailure(msgspec.Struct, frozen=True):
    """Cohere's error shape."""

    message: str


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FIELD = re.compile(r" - at `\$\.?(?P<field>[^`]*)`$")
_MISSING = re.compile(r"missing required field `(?P<field>[^`]*)`")
_HALF_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
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
        if _HALF_SURROGATE.search(body):
            raise InputError("a text has half a surrogate pair (\\ud800 to \\udfff), which is no character") from None
        raise MalformedBodyError(f"the body is not JSON: {error}") from None


def raw_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """A request's fields, undecoded, where they say which request it is. Raises as `decode` does."""
    return decode(body, _FIELDS)


def field_names(body: bytes) -> set[str]:
    """Their names."""
    return set(raw_fields(body))
