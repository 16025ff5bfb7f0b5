"""The JSON that goes over the wire, as structs, and decoding it with errors that name the field.

Unknown fields of a request are ignored, as OpenAI's server does: its clients send whatever `extra_body` holds.
"""

import re
from typing import Literal, TypeVar

import msgspec

from openbei.errors import InputError

T = TypeVar("T")


class MalformedBodyError(InputError):
    """A body that is not JSON."""


class EmbeddingsRequest(msgspec.Struct, frozen=True):
    """OpenAI's request. `input` is a text, a list of texts, a list of token ids, or a list of such lists.

    `dimensions` cuts embeddings, which are then normalized again. `model` and `user` change nothing.
    """

    input: str | list[str | int | list[int]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    user: str | None = None


class Embedding(msgspec.Struct, frozen=True):
    """One embedding: floats, or base64 of little-endian float32. `index` is the place of its input."""

    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of all inputs before truncation, special tokens included."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(msgspec.Struct, frozen=True):
    """OpenAI's response; `model` is the served name."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


class Model(msgspec.Struct, frozen=True):
    """A model that is served; `created` is the server's start in Unix seconds."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "openbei"


class Models(msgspec.Struct, frozen=True):
    """The one model that is served."""

    data: list[Model]
    object: Literal["list"] = "list"


class Index(msgspec.Struct, frozen=True):
    """What answers here, and at which routes."""

    name: str
    version: str
    model: str
    routes: list[str]


class Failure(msgspec.Struct, frozen=True):
    """What went wrong; `param` names the request's field."""

    message: str
    type: str
    param: str | None
    code: str


class FailureBody(msgspec.Struct, frozen=True):
    """OpenAI's error shape."""

    error: Failure


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
        raise InputError(f"{param}: {message}" if param else message, param=param) from None
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not valid UTF-8: {error.reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        if _HALF_SURROGATE.search(body):
            raise InputError("a text has half a surrogate pair (\\ud800 to \\udfff), which is no character") from None
        raise MalformedBodyError(f"the body is not JSON: {error}") from None
