"""Keys: who gets in, what they are told otherwise, and that keys stay secret. Web pages of other origins. TLS."""

import logging
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from openbei.api.edge import Edge
from openbei.api.guard import Guard, read_keys
from openbei.api.refusals import UnauthorizedError
from openbei.api.server import Server, Tls, build_server
from openbei.config import Secret
from openbei.errors import ConfigError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.metrics import Metrics
from openbei.serving.scheduler import QueueLimits, Scheduler

from .conftest import Served, Start

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
        None, "", "Bearer", "Bearer ", "Bearer first", "Bearer first-key2", "Bearer FIRST-KEY", "second",
        "Basic first-key", "Bearerfirst-key", "Bearer first-key, Bearer second", "Bearer first-key sécond-key",
    ],
)  # fmt: skip
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


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    return path


def context(authority: trustme.CA) -> ssl.SSLContext:
    found = ssl.create_default_context()
    authority.configure_trust(found)
    return found


def test_tls(start: Start, authority: trustme.CA, certificate: Path) -> None:
    served = start(FakeEngine(), tls=Tls(certfile=certificate))
    url = served.url.replace("http:", "https:")
    answer = httpx.post(f"{url}/v1/embeddings", json={"input": "w1"}, verify=context(authority))
    assert answer.status_code == 200
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/health")
    with pytest.raises(httpx.HTTPError):
        served.client.get("/health")


def test_certificates_of_clients(start: Start, authority: trustme.CA, certificate: Path, tmp_path: Path) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    served = start(FakeEngine(), tls=Tls(certfile=certificate, ca_certs=tmp_path / "ca.pem"))
    url = served.url.replace("http:", "https:") + "/health"
    trusted = context(authority)
    authority.issue_cert("client").configure_cert(trusted)
    assert httpx.get(url, verify=trusted).status_code == 200
    with pytest.raises(httpx.HTTPError):
        httpx.get(url, verify=context(authority))


def encrypted_key(authority: trustme.CA, folder: Path, password: bytes) -> tuple[Path, Path]:
    from cryptography.hazmat.primitives import serialization

    issued = authority.issue_cert("127.0.0.1")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    (folder / "key.pem").write_bytes(pem)
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return folder / "cert.pem", folder / "key.pem"


def served_with(tls: Tls) -> Server:
    async def app(scope: object, receive: object, send: object) -> None: ...

    scheduler = Scheduler(FakeEngine(), QueueLimits(), Metrics())
    return build_server(app, scheduler, host="127.0.0.1", port=0, tls=tls)


@pytest.mark.parametrize("password", ["right", "wrong", None])
def test_encrypted_key(authority: trustme.CA, tmp_path: Path, password: str | None) -> None:
    certfile, keyfile = encrypted_key(authority, tmp_path, b"right")
    tls = Tls(certfile=certfile, keyfile=keyfile, keyfile_password=Secret(password) if password else None)
    if password == "right":
        assert served_with(tls).config.is_ssl
        return
    with pytest.raises(ConfigError, match="certificates cannot be used") as error:
        served_with(tls)
    assert "wrong" not in str(error.value)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_are_none(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "cert.pem"
    if content:
        path.write_text(content)
    with pytest.raises(ConfigError, match="certificates cannot be used"):
        served_with(Tls(certfile=path))


def test_a_refusal_over_tls(start: Start, authority: trustme.CA, certificate: Path) -> None:
    served = start(FakeEngine(), tls=Tls(certfile=certificate))
    plain = socket.create_connection(served.address, 20)
    with context(authority).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 414 ")


def test_a_large_body_that_is_refused_over_tls(start: Start, authority: trustme.CA, certificate: Path) -> None:
    """The answer is not lost while the client still sends."""
    served = start(FakeEngine(), tls=Tls(certfile=certificate), edge=Edge(guard=Guard(KEYS)))
    url = served.url.replace("http:", "https:") + "/v1/embeddings"
    assert httpx.post(url, content=b"x" * 8_000_000, verify=context(authority)).status_code == 401
