"""Exceptions to HTTP: which status each gets, and the body, in the shape that the route's clients know.

A body never has a stack trace: what is not one of our own errors is logged and answered in general words.
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
)
from openbei.errors import (
    DeadlineError,
    EmptyInputError,
    EngineError,
    InputError,
    OpenbeiError,
    OverloadedError,
    UnavailableError,
    WrongTaskError,
)

log = logging.getLogger(__name__)

Dialect = Literal["openai", "tei", "cohere"]
"""The clients whose error shape a route has."""

STATUSES: dict[type[Exception], tuple[int, str]] = {
    MalformedBodyError: (400, "malformed"),
    EmptyInputError: (400, "empty"),
    BodyTooLargeError: (413, "too_large"),
    BodyEncodingError: (415, "unsupported_encoding"),
    UnauthorizedError: (401, "unauthorized"),
    NoRouteError: (404, "not_found"),
    MethodError: (405, "method_not_allowed"),
    InputError: (422, "validation"),
    DeadlineError: (408, "timeout"),
    OverloadedError: (429, "overloaded"),
    WrongTaskError: (424, "wrong_task"),
    EngineError: (500, "inference"),
    UnavailableError: (503, "unavailable"),
    Exception: (500, "internal"),
}
"""Status and `code`; the nearest base class decides."""

TYPES = {401: "authentication_error", 408: "timeout_error", 429: "rate_limit_error"}
"""OpenAI's `type`, where it is not that of all 4xx or all 5xx."""


KINDS = {
    **dict.fromkeys(("malformed", "too_large", "validation"), "Validation"),
    "empty": "Empty",
    "overloaded": "Overloaded",
    "unavailable": "Unhealthy",
    "timeout": "Timeout",
}
"""Our code -> TEI's `error_type`, where it is not Backend."""


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


FAILURES: dict[Dialect, type] = {"openai": FailureBody, "tei": TeiFailure, "cohere": CohereFailure}
"""What an error looks like in each dialect."""


def classify(error: Exception) -> tuple[int, str]:
    """Status and code of an error."""
    return next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)


def reply(error: Exception, dialect: Dialect = "openai", request_id: str = "") -> Reply:
    """The answer to a request that raised, in the shape of a dialect; `request_id` is for the log."""
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
