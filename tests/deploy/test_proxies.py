"""The configurations of nginx and Envoy: valid, and right for real requests; skipped where a proxy is not installed."""

import os
import shutil
import ssl
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from openbei.api.connections.gate import ConnectionGate
from tests.api.conftest import Served
from tests.emulators import free_port, process
from tests.house.source import ROOT

EXAMPLES = ROOT / "examples"
PORTS = ("7997", "7998")
"""The ports of the servers in the examples."""


class Broken(BaseHTTPRequestHandler):
    """A server that is ready, but closes the connection for every request."""

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
        self.close_connection = True

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        """Logs nothing."""


@pytest.fixture(scope="module")
def broken_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def with_ports(config: str, ports: Sequence[int]) -> str:
    for port, actual in zip(PORTS, ports, strict=True):
        assert port in config
        config = config.replace(port, str(actual))
    return config


@contextmanager
def nginx(folder: Path, ports: Sequence[int]) -> Iterator[httpx.Client]:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    port = free_port()
    config = with_ports((EXAMPLES / "nginx/openbei.conf").read_text(), ports)
    config = config.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace("/etc/nginx/tls", str(folder))
    (folder / "openbei.conf").write_text(config)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\n{user}\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}include openbei.conf;\n}}\n"
    )
    command = ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")]
    context = ssl.create_default_context()
    authority.configure_trust(context)
    client = httpx.Client(base_url=f"https://localhost:{port}", verify=context)
    with process(command, port, folder / "nginx.log"), client:
        yield client


@contextmanager
def envoy(folder: Path, ports: Sequence[int]) -> Iterator[httpx.Client]:
    port = free_port()
    config = with_ports((EXAMPLES / "envoy/envoy.yaml").read_text(), ports)
    config = config.replace("address: 0.0.0.0, port_value: 8080", f"address: 127.0.0.1, port_value: {port}")
    (folder / "envoy.yaml").write_text(config)
    command = ["envoy", "-c", str(folder / "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id"]
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}")
    with process(command, port, folder / "envoy.log"), client:
        yield client


@pytest.fixture(scope="module", params=[nginx, envoy], ids=lambda proxy: proxy.__name__)
def client(
    request: pytest.FixtureRequest, served: Served, broken_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a proxy in front of two servers, of which one is broken."""
    name = request.param.__name__
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    with request.param(tmp_path_factory.mktemp(name), (served.address[1], broken_port)) as running:
        yield running


def test_another_server_gets_requests_that_fail(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        responses = threads.map(lambda _: client.post("/embed", json={"inputs": "w1"}), range(64))
        assert {response.status_code for response in responses} == {200}


def test_a_large_body(client: httpx.Client) -> None:
    """nginx's own limit is 1 MB."""
    assert client.post("/embed", json={"inputs": "w1", "other": "x" * 3_000_000}).status_code == 200


def test_an_upgrade_is_ignored(client: httpx.Client) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
    assert client.post("/embed", json={"inputs": "w1"}, headers=headers).status_code == 200


def test_responses_of_the_server_pass(client: httpx.Client) -> None:
    response = client.post("/embed", json={"inputs": ""})
    assert response.status_code == 422
    assert response.json()["error_type"] == "Validation"
    assert response.headers["x-request-id"]


def test_connections_to_the_server_stay_open(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    admit = ConnectionGate.admit
    monkeypatch.setattr(ConnectionGate, "admit", lambda gate, peer: opened.append(peer) or admit(gate, peer))
    for _ in range(6):
        assert client.get("/info", headers={"Connection": "close"}).status_code == 200
    assert len(opened) <= 1


@pytest.mark.parametrize("path", ["/metrics", "/sync/metrics", "/production/sync/metrics?a=b", "/%6detrics"])
def test_metrics_are_not_public(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404
