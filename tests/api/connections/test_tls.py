"""TLS: certificates of both sides, keys with a password, refusals, and handshakes that count and have a deadline."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trustme

from openbei.api.connections.gate import ConnectionLimits
from openbei.api.connections.tls import Tls
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard
from openbei.api.server import Server, build_server
from openbei.config import Secret
from openbei.errors import ConfigError
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start


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

    return build_server(app, [], host="127.0.0.1", port=0, tls=tls)


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
    served = start(FakeEngine(), tls=Tls(certfile=certificate), edge=Edge(guard=Guard(["key"])))
    url = served.url.replace("http:", "https:") + "/v1/embeddings"
    assert httpx.post(url, content=b"x" * 8_000_000, verify=context(authority)).status_code == 401


@contextmanager
def silent(served: Served, count: int) -> Iterator[list[socket.socket]]:
    """TCP connections on which no handshake begins."""
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(served.address, 20)) for _ in range(count)]


def status_over_tls(served: Served, authority: trustme.CA) -> bytes:
    plain = socket.create_connection(served.address, 20)
    with context(authority).wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return connection.recv(65536)[9:12]


def test_handshakes_count_as_connections(start: Start, authority: trustme.CA, certificate: Path) -> None:
    """Those that are in progress, too; with their end the room is free again."""
    limits = ConnectionLimits(max_connections=3)
    served = start(FakeEngine(), tls=Tls(certfile=certificate), connections=limits)
    with silent(served, 3):
        assert status_over_tls(served, authority) == b"503"
    for _ in range(500):
        if status_over_tls(served, authority) == b"200":
            break
        time.sleep(0.01)
    else:
        raise AssertionError("they still count")
    assert {status_over_tls(served, authority) for _ in range(10)} == {b"200"}


def test_a_flood_of_handshakes_is_not_answered(start: Start, certificate: Path) -> None:
    limits = ConnectionLimits(max_connections=1)
    served = start(FakeEngine(), tls=Tls(certfile=certificate), connections=limits)
    with silent(served, 80) as flood:
        assert flood[-1].recv(100) == b""


def test_a_handshake_has_a_deadline(start: Start, certificate: Path) -> None:
    served = start(FakeEngine(), tls=Tls(certfile=certificate), connections=ConnectionLimits(request_timeout_s=1))
    with silent(served, 2) as (nothing, begun):
        begun.sendall(b"\x16\x03\x01")
        assert nothing.recv(100) == b""
        assert begun.recv(100) == b""


def test_handshakes_that_fail_leave_nothing(start: Start, authority: trustme.CA, certificate: Path) -> None:
    served = start(FakeEngine(), tls=Tls(certfile=certificate), connections=ConnectionLimits(max_connections=2))
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"\xff" * 5000) * 5:
        with socket.create_connection(served.address, 20) as connection:
            connection.sendall(garbage)
            with suppress(ConnectionResetError):
                while connection.recv(65536):
                    pass
    assert status_over_tls(served, authority) == b"200"
