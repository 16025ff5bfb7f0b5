"""Response headers: ids of the request, and its cost."""

import re

from openbei.api.exchange.call import Measured
from openbei.api.exchange.refusals import Header
from openbei.api.exchange.request_ids import RequestIds

REQUEST_ID = b"x-request-id"
BASETEN_ID = b"x-baseten-request-id"
CUSTOMER_ID = b"x-baseten-customer-request-id"

EXPOSED = (
    REQUEST_ID.decode(),
    BASETEN_ID.decode(),
    CUSTOMER_ID.decode(),
    "x-compute-type",
    "x-compute-time",
    "x-compute-characters",
    "x-compute-tokens",
    "x-total-time",
    "x-tokenization-time",
    "x-queue-time",
    "x-inference-time",
    "x-truncated-inputs",
    "server-timing",
    "retry-after",
)
"""Headers that pages of other origins may read."""

_ID = re.compile(rb"[ -~]{1,128}")


def request_id(headers: dict[bytes, bytes], ids: RequestIds) -> bytes:
    """The client's own or Baseten's, if it is printable ASCII of at most 128 characters, or a new one."""
    return _valid_id(headers, REQUEST_ID) or _valid_id(headers, BASETEN_ID) or ids.new().encode()


def identity(request_id: bytes, headers: dict[bytes, bytes]) -> list[Header]:
    """The ids of a request, for its answer."""
    result = [(REQUEST_ID, request_id), (BASETEN_ID, _valid_id(headers, BASETEN_ID) or request_id)]
    customer = _valid_id(headers, CUSTOMER_ID)
    return [*result, (CUSTOMER_ID, customer)] if customer else result


def _valid_id(headers: dict[bytes, bytes], name: bytes) -> bytes | None:
    value = headers.get(name)
    return value if value and _ID.fullmatch(value) else None


def cost(measured: Measured, serialization_s: float, total_s: float, compute_type: bytes) -> list[Header]:
    """Headers of text-embeddings-inference, with times in whole milliseconds, and the number of truncated inputs.

    `server-timing` has the times to the microsecond (W3C Server Timing).
    """
    total = _milliseconds(total_s)
    result = [
        (b"x-compute-type", compute_type),
        (b"x-compute-time", total),
        (b"x-compute-characters", b"%d" % measured.num_characters),
        (b"x-compute-tokens", b"%d" % measured.num_tokens),
        (b"x-total-time", total),
        (b"x-tokenization-time", _milliseconds(measured.tokenization_s)),
        (b"x-queue-time", _milliseconds(measured.queue_s)),
        (b"x-inference-time", _milliseconds(measured.inference_s)),
        (b"server-timing", _server_timing(measured, serialization_s, total_s)),
    ]
    return [*result, (b"x-truncated-inputs", b"%d" % measured.num_truncated)] if measured.num_truncated else result


def _server_timing(measured: Measured, serialization_s: float, total_s: float) -> bytes:
    return b"tokenization;dur=%.3f, queue;dur=%.3f, inference;dur=%.3f, serialization;dur=%.3f, total;dur=%.3f" % (
        measured.tokenization_s * 1000,
        measured.queue_s * 1000,
        measured.inference_s * 1000,
        serialization_s * 1000,
        total_s * 1000,
    )


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % (seconds * 1000)
