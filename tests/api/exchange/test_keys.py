"""Keys: who gets in, what they are told otherwise, and that keys stay secret. Web pages of other origins."""

import logging
from pathlib import Path

import pytest

from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard, read_keys
from openbei.api.exchange.refusals import UnauthorizedError
from openbei.errors import ConfigError
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start

KEYS = ("first-key", "sécond-key")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer first-key",
        "bearer first-key",
        "API-KEY first-key",
        "Api-Key  first-key ",
        "Bearer sécond-key",
        "first-key",
    ],
)
def test_who_gets_in(header: str) -> None:
    Guard(KEYS).check(header.encode(), "guarded")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer first",
        "Bearer first-key2",
        "Bearer FIRST-KEY",
        "second",
        "Basic first-key",
        "Bearerfirst-key",
        "Bearer first-key, Bearer second",
        "Bearer first-key sécond-key",
    ],
)
def test_who_does_not(header: str | None) -> None:
    with pytest.raises(UnauthorizedError) as error:
        Guard(KEYS).check(header.encode() if header is not None else None, "guarded")
    assert not [key for key in KEYS if key in str(error.value)]


@pytest.mark.parametrize(
    ("guard", "guarded"),
    [
        (Guard(), set()),
        (Guard(guards_health=True), set()),
        (Guard(KEYS), {"guarded", "metrics"}),
        (Guard(KEYS, guards_health=True), {"guarded", "metrics", "health"}),
        (Guard(KEYS, opens_metrics=True), {"guarded"}),
    ],
)
def test_what_is_guarded(guard: Guard, guarded: set[str]) -> None:
    refused = set()
    for access in ("guarded", "health", "metrics", "open"):
        try:
            guard.check(None, access)  # type: ignore[arg-type]
        except UnauthorizedError:
            refused.add(access)
    assert refused == guarded


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# ours\nfirst-key\n\n  second-key  \n # no\n")
    assert read_keys(path) == ("first-key", "second-key")
    path.write_bytes(b"\xef\xbb\xbffirst-key  # of a person\r\nkey#with-it\t# another\n#nothing\n  # nothing\n")
    assert read_keys(path) == ("first-key", "key#with-it")
    assert "first-key" not in repr(read_keys(path))
    path.write_text("# none\n")
    with pytest.raises(ConfigError, match="has no key"):
        read_keys(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "absent")


def test_over_http(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "openbei"):
        served = start(FakeEngine(), edge=Edge(guard=Guard(KEYS), logs_requests=True))
        client = served.client
        for path in ("/health", "/", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200
        for method, path in (("POST", "/v1/embeddings"), ("GET", "/metrics"), ("GET", "/nowhere"), ("PUT", "/health")):
            response = client.request(method, path, json={"input": "w1"})
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.json()["error"]["code"] == "unauthorized"
            assert response.json()["error"]["type"] == "authentication_error"
        assert set(client.post("/rerank", json={}).json()) == {"error", "error_type"}
        wrong = client.post("/v1/embeddings", json={"input": "w1"}, headers={"authorization": "Bearer not-it"})
        assert wrong.status_code == 401
        mine = {"authorization": f"Bearer {KEYS[0]}"}
        assert client.post("/v1/embeddings", json={"input": "w1"}, headers=mine).status_code == 200
        assert client.get("/nowhere", headers=mine).status_code == 404
        assert client.get("/metrics", headers=mine).status_code == 200
    assert "/v1/embeddings 401" in caplog.text
    assert "first-key" not in caplog.text
    assert "not-it" not in caplog.text


PREFLIGHT = {
    "origin": "https://page.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,api-key,x-stainless-os",
}


def test_pages_of_other_origins(start: Start) -> None:
    """What a browser does: asks first, without the key, then sends the request with it and reads headers."""
    served = start(FakeEngine(), edge=Edge(guard=Guard(KEYS), cors_origins=("https://page.example",)))
    asked = served.client.options("/v1/embeddings", headers=PREFLIGHT)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://page.example"
    allowed = {name.strip().lower() for name in asked.headers["access-control-allow-headers"].split(",")}
    assert allowed >= set(PREFLIGHT["access-control-request-headers"].split(","))
    near = {**PREFLIGHT, "access-control-request-private-network": "true"}  # the server is in the browser's own network
    asked = served.client.options("/v1/embeddings", headers=near)
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-private-network"] == "true"
    headers = {"origin": "https://page.example", "authorization": "Bearer first-key"}
    answer = served.client.post("/v1/embeddings", json={"input": "w1"}, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    assert "x-compute-tokens" in answer.headers["access-control-expose-headers"]
    assert set(answer.headers["vary"].lower().split(", ")) == {"accept", "accept-encoding", "origin"}
    refused = served.client.post("/v1/embeddings", json={"input": "w1"}, headers={"origin": "https://page.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://page.example"
    other = served.client.options("/v1/embeddings", headers={**near, "origin": "https://other.example"})
    assert other.status_code == 400
    assert "access-control-allow-origin" not in other.headers


def test_any_origin_and_none(served: Served, start: Start) -> None:
    assert served.client.options("/v1/embeddings", headers=PREFLIGHT).status_code == 405
    own = start(FakeEngine(), edge=Edge(cors_origins=("*",)))
    answer = own.client.get("/health", headers={"origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
