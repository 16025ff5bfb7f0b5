"""The address that a server announces."""

import pytest

from openbei.api.server import url_of


@pytest.mark.parametrize(
    ("host", "has_tls", "url"),
    [("127.0.0.1", False, "http://127.0.0.1:80"), ("::1", True, "https://[::1]:80")],
)
def test_urls(host: str, has_tls: bool, url: str) -> None:
    assert url_of(host, 80, has_tls=has_tls) == url
