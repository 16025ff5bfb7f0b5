"""Exceptions to HTTP: which status each gets, and the body, which is OpenAI's.

A body never has a stack trace: what is not one of our own errors is logged and answered in general words.
"""

import logging
import math

import msgspec

from openbei.api.call import BodyTooLargeError, Header, Reply
from openbei.api.wire import Failure, FailureBody, MalformedBodyError
from openbei.errors import (
    DeadlineError,
    EmptyInputError,
    EngineError,
    InputError,
    OpenbeiError,
    OverloadedError,
    UnavailableError,
)

log = logging.getLogger(__name__)

STATUSES: dict[type[Exception], tuple[int, str]] = {
    MalformedBodyError: (400, "malformed"),
    EmptyInputError: (400, "empty"),
    BodyTooLargeError: (413, "too_large"),
    InputError: (422, "validation"),
    DeadlineError: (408, "timeout"),
    OverloadedError: (429, "overloaded"),
    EngineError: (500, "inference"),
    UnavailableError: (503, "unavailable"),
    Exception: (500, "internal"),
}
"""Status and `code`; the nearest base class decides."""

TYPES = {408: "timeout_error", 429: "rate_limit_error"}
"""OpenAI's `type`, where it is not that of all 4xx or all 5xx."""


def classify(error: Exception) -> tuple[int, str]:
    """Status and code of an error."""
    return next(STATUSES[base] for base in type(error).__mro__ if base in STATUSES)


def reply(error: Exception) -> Reply:
    """The answer to a request that raised."""
    status, code = classify(error)
    if not isinstance(error, OpenbeiError):
        log.error("a request failed unexpectedly", exc_info=error)
        return Reply(body(status, code, "the server failed unexpectedly; its log says why"), status)
    headers: tuple[Header, ...] = ()
    if isinstance(error, OverloadedError):
        headers = ((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()),)
    param = error.param if isinstance(error, InputError) else None
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return Reply(body(status, code, message, param), status, headers)


def body(status: int, code: str, message: str, param: str | None = None) -> bytes:
    """The JSON of a failure."""
    kind = TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return msgspec.json.encode(FailureBody(Failure(message, kind, param, code)))
