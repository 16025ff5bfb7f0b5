"""The JSON that goes over the wire, as structs by dialect; here: what errors look like."""

import msgspec


class Failure(msgspec.Struct, frozen=True):
    """What went wrong; `param` names the request's field."""

    message: str
    type: str
    param: str | None
    code: str


class FailureBody(msgspec.Struct, frozen=True):
    """OpenAI's error shape, and the message once more in `detail`, where Jina's clients look for it."""

    error: Failure
    detail: str


class TeiFailure(msgspec.Struct, frozen=True):
    """TEI's error shape; `error_type` is Validation, Empty, Backend, Overloaded, Unhealthy or Timeout."""

    error: str
    error_type: str


class CohereFailure(msgspec.Struct, frozen=True):
    """Cohere's error shape."""

    message: str
