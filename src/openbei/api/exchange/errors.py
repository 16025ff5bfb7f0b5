"""Error responses: the status of each exception, and the body in the format of the route's clients.

A body never has a stack trace. Exceptions other than OpenbeiError are logged, and answered with a generic message.
"""

import logging
import math
from typing import Literal

import msgspec

from openbei.api.exchange.call import Reply
from openbei.api.exchange.decoding import MalformedBodyError
from openbei.api.exchange.observe import quoted
from openbei.api.exchange.refusals import (
    BodyEncodingError,
    BodyTooLargeError,
    Header,
    MethodError,
    NoRouteError,
    RefusedError,
    UnauthorizedError,
    UnknownModelError,
)
from openbei.errors import (
    DeadlineError,
    EmptyInputError,
    EngineError,
    EngineLostError,
    InputError,
    OpenbeiError,
    OverloadedError,
    UnavailableError,
    WrongTaskError,
)

log = logging.getLogger(__name__)

Dialect = Literal["openai", "tei", "cohere"]
"""The API whose error format a route uses."""

STATUSES: dict[type[Exception], tuple[int, str]] = {
    MalformedBodyError: (400, "malformed"),
    EmptyInputError: (400, "empty"),
    BodyTooLargeError: (413, "too_large"),
    BodyEncodingError: (415, "unsupported_encoding"),
    UnauthorizedError: (401, "unauthorized"),
    NoRouteError: (404, "not_found"),
    UnknownModelError: (404, "model_not_found"),
    MethodError: (405, "method_not_allowed"),
    InputError: (422, "validation"),
    DeadlineError: (408, "timeout"),
    OverloadedError: (429, "overloaded"),
    WrongTaskError: (424, "wrong_task"),
    EngineError: (500, "inference"),
    EngineLostError: (500, "inference"),
    UnavailableError: (503, "unavailable"),
    Exception: (500, "internal"),
}
"""Status and `code`; the nearest base class decides."""

TYPES = {401: "authentication_error", 408: "timeout_error", 429: "rate_limit_error"}
"""OpenAI's `type` for statuses without the common type of 4xx or 5xx."""


KINDS = {
    **dict.fromkeys(("malformed", "too_large", "validation", "model_not_found"), "Validation"),
    "empty": "Empty",
    "overloaded": "Overloaded",
    "unavailable": "Unhealthy",
    "timeout": "Timeout",
}
"""openbei's code -> TEI's `error_type`; all others are Backend."""


class Failure(msgspec.Struct, frozen=True):
    """What went wrong; `param` names the request's field."""

    message: str
    type: str
    param: str | None
    code: str


class FailureBody(msgspec.Struct, frozen=True):
    """OpenAI's error format; `detail` repeats the message for Jina's clients."""

    error: Failure
    detail: str


class TeiFailure(msgspec.Struct, frozen=True):
    """TEI's error format; `error_type` is Validation, Empty, Backend, Overloaded, Unhealthy or Timeout."""

    error: str
    error_type: str


class CohereFailure(msgspec.Struct, frozen=True):
    """Cohere's error format."""

    message: str


FAILURES: dict[Dialect, type] = {"openai": FailureBody, "tei": TeiFailure, "cohere": CohereFailure}
"""The error format of each dialect."""


def classify(error: Exception) -> tuple[int, str]:
    """Status and code of an error."""
    return next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)


def reply(error: Exception, dialect: Dialect = "openai", request_id: str = "") -> Reply:
    """The response to a request that raised, in the format of a dialect; `request_id` is for the log."""
    status, code = classify(error)
    if not isinstance(error, OpenbeiError):
        fields = {"request_id": request_id}
        log.error("request %s failed unexpectedly", quoted(request_id), exc_info=error, extra={"fields": fields})
        return Reply(body(status, code, "the server failed unexpectedly; its log says why", dialect=dialect), status)
    headers: tuple[Header, ...] = error.headers if isinstance(error, RefusedError) else ()
    if isinstance(error, OverloadedError):
        headers = ((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()),)
    param = error.param if isinstance(error, InputError) else None
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return Reply(body(status, code, message, param, dialect=dialect), status, headers)


def body(status: int, code: str, message: str, param: str | None = None, *, dialect: Dialect = "openai") -> bytes:
    """The JSON of a failure."""
    if dialect == "tei":
        return msgspec.json.encode(TeiFailure(message, KINDS.get(code, "Backend")))
    if dialect == "cohere":
        return msgspec.json.encode(CohereFailure(message))
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode(FailureBody(Failure(message, kind, param, code), message))
