"""The head of a response, which no header can break out of."""

import pytest

from openbei.api.connections.cycle import response_head


def test_lines() -> None:
    head = response_head(429, [(b"retry-after", b"1"), (b"x-a", b"b")])
    assert head == b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nx-a: b\r\n\r\n"


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nx: y", b"a\rx: y", b"\r\n\r\n<html>"])
def test_line_breaks(value: bytes) -> None:
    with pytest.raises(RuntimeError, match="line break"):
        response_head(200, [(b"x-request-id", value)])
    with pytest.raises(RuntimeError, match="line break"):
        response_head(200, [(value, b"a")])
