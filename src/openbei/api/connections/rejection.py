"""Error answers to bytes that are not a valid request, as HTTP/1.1."""

from http import HTTPStatus

from openbei.api.exchange import errors
from openbei.api.exchange.refusals import Header

MAX_HEADER_BYTES = 65_536
MAX_URL_BYTES = 8_192

MESSAGES = {
    400: "this is not HTTP/1.1",
    405: "the method CONNECT is for proxies, and this is none",
    408: "the request did not arrive in time",
    414: f"the URL is longer than {MAX_URL_BYTES} bytes",
    431: f"the headers are larger than {MAX_HEADER_BYTES} bytes",
    503: "the server is shutting down",
}


def rejection(status: int, message: str | None = None, headers: tuple[Header, ...] = ()) -> bytes:
    """An error response in OpenAI's format that closes the connection. The default message is that of the status."""
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    body = errors.body(status, code, message or MESSAGES[status])
    lines = [
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n".encode(),
        b"content-length: %d\r\nconnection: close\r\n" % len(body),
        *(b"%s: %s\r\n" % header for header in headers),
        b"\r\n",
        body,
    ]
    return b"".join(lines)
