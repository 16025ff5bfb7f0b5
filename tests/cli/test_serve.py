"""`bei serve`, end to end: a real process, the real `openai` client, SIGTERM."""

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import httpx
import numpy as np
import openai
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from openbei.api.exchange.keys import Guard
from openbei.cli.serving_options import EdgeArguments, edge_options, warn_if_open
from openbei.config import Environment
from openbei.engine_dir import EngineDir

from ..checkpoint import expected_vectors
from ..prose import WORDS
from ..same_embedding import worst_cosine
from .conftest import BEI, Run, serving

TEXTS = [" ".join(WORDS[i : i + 3 + i]) for i in range(20)]


def test_config_to_answers(config: Path, tiny_checkpoint: Path, variables: dict[str, str]) -> None:
    """Builds because there is no engine directory, says so, and answers what sentence-transformers does."""
    with serving(config, variables=variables) as (server, url, log):
        assert "it does not exist" in "".join(log)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
        answer = client.embeddings.create(model="any", input=TEXTS)
        vectors = np.array([row.embedding for row in answer.data], np.float32)
        assert worst_cosine(vectors, expected_vectors(tiny_checkpoint, TEXTS)) > 0.999
        assert [row.index for row in answer.data] == list(range(len(TEXTS)))
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) == 0
    with serving(config, variables=variables) as (_, _, log):
        assert "up to date" in "".join(log)


def test_start_log_says_what_was_chosen_and_why(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    with serving(tiny_engine_dir.path, "--backend", "reference", variables=variables) as (_, _, log):
        assert "engine: reference on cpu, float32 (requested)" in "".join(log)


def test_a_changed_config_is_built_again(config: Path, tmp_path: Path, variables: dict[str, str]) -> None:
    out = tmp_path / "engine"
    with serving(config, "--out", out, variables=variables):
        pass
    config.write_text(config.read_text() + "model_name: another\n")
    with serving(config, "--out", out, variables=variables) as (_, url, log):
        assert "config has changed" in "".join(log)
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "another"


def test_sigterm_drains(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    """A request that the server has is answered, and the process ends well."""
    body = json.dumps({"input": TEXTS}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    with serving(tiny_engine_dir.path, variables=variables) as (server, url, _):
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.connect()
        connection.sock.sendall(head.encode())
        assert connection.sock.recv(100).startswith(b"HTTP/1.1 100 ")  # the server waits for the body, and for us
        server.send_signal(signal.SIGTERM)
        assert server.stderr
        assert any("shutting down" in line for line in server.stderr)
        connection.sock.sendall(body)
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        assert len(json.loads(answer.read())["data"]) == len(TEXTS)
        assert server.wait(timeout=60) == 0


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("corrupt", [flipped, truncated, Path.unlink])
@pytest.mark.parametrize("name", ["weights.safetensors", "tokenizer.json"])
def test_a_spoilt_engine_directory_is_found_before_serving(
    name: str, corrupt: Callable[[Path], None], bei: Run, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "engine"
    assert bei("build", config, "--out", out).returncode == 0
    corrupt(out / name)
    done = bei("serve", out, "--port", "0")
    assert_clear(done, 1, name)


def test_a_port_that_is_taken(tiny_engine_dir: EngineDir, bei: Run, variables: dict[str, str]) -> None:
    with serving(tiny_engine_dir.path, variables=variables) as (_, url, _):
        port = url.rpartition(":")[2]
        done = bei("serve", tiny_engine_dir.path, "--port", port)
    assert_clear(done, 2, f"127.0.0.1:{port} is in use")
    assert "hint: " in done.stderr
    assert "model:" not in done.stderr, "it is found before anything is loaded"


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid"])
def test_a_host_that_is_not_ours(host: str, tiny_engine_dir: EngineDir, bei: Run) -> None:
    assert_clear(bei("serve", tiny_engine_dir.path, "--host", host, "--port", 0), 2, "is no address")


def test_what_is_not_offered(tiny_engine_dir: EngineDir, bei: Run) -> None:
    assert_clear(bei("serve", tiny_engine_dir.path, "--isa", "nonsense"), 1, "nonsense")
    assert_clear(bei("serve", tiny_engine_dir.path, "--device", "cuda:999"), 1, "not available")


def test_keys(tiny_engine_dir: EngineDir, variables: dict[str, str], tmp_path: Path) -> None:
    """From the command line, a file and the environment; they let in, and they show up nowhere."""
    (tmp_path / "keys").write_text("# one a line\nkey-of-file\n")
    (tmp_path / "keys").chmod(0o644)
    variables |= {"OPENBEI_API_KEY": "key-of-ours,another-key", "API_KEY": "key-of-tei"}
    arguments = (
        "--api-key",
        "key-of-line",
        "--api-key-file",
        tmp_path / "keys",
        "--access-log",
        "--log-level",
        "debug",
    )
    with serving(tiny_engine_dir.path, *arguments, variables=variables) as (server, url, log):
        assert httpx.post(f"{url}/v1/embeddings", json={"input": "a"}).status_code == 401
        for key in ("key-of-line", "key-of-file", "key-of-ours", "another-key", "key-of-tei"):
            client = openai.OpenAI(base_url=f"{url}/v1", api_key=key)
            assert client.embeddings.create(model="any", input="a").data
        server.send_signal(signal.SIGTERM)
        assert server.stderr
        log += server.stderr
    told = "".join(log)
    assert "can be read by others" in told
    assert "POST /v1/embeddings 401" in told
    assert not re.search("key-of|another-key", told)


@pytest.mark.parametrize(("arguments", "has_page"), [([], True), (["--no-page"], False)])
def test_the_web_page_can_be_switched_off(arguments: list[str], has_page: bool, environment: Environment) -> None:
    edges = []

    def command(arguments: EdgeArguments) -> None:
        edges.append(arguments.edge(environment))

    click.command(edge_options(command)).main(arguments, standalone_mode=False)
    assert [edge.has_page for edge in edges] == [has_page]


def test_log_lines_for_machines(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    arguments = (tiny_engine_dir.path, "--log-format", "json", "--access-log")
    with serving(*arguments, variables=variables) as (server, url, log):
        httpx.post(f"{url}/v1/embeddings", json={"input": ["a", "b"]}, headers={"x-request-id": "mine"})
        server.send_signal(signal.SIGTERM)
        assert server.stderr
        log += server.stderr
    lines = [json.loads(line) for line in log]
    assert all({"time", "level", "message", "logger"} <= set(line) for line in lines)
    [access] = [line for line in lines if "request_id" in line]
    assert (access["method"], access["path"], access["status"]) == ("POST", "/v1/embeddings", 200)
    assert (access["inputs"], access["request_id"]) == (2, "mine")


def test_log_on_standard_output(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    command = [*BEI, "serve", str(tiny_engine_dir.path), "--port", "0", "--log-to", "stdout"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=variables, text=True) as server:
        assert server.stdout
        assert any("ready on http://" in line for line in server.stdout)
        server.send_signal(signal.SIGTERM)
        assert server.communicate(timeout=60)[1] == ""


def test_options_of_connections_reach_the_server(tiny_engine_dir: EngineDir, variables: dict[str, str]) -> None:
    arguments = (
        "--max-connections",
        1,
        "--request-timeout-s",
        3,
        "--max-bodies-bytes",
        10,
        "--payload-limit-bytes",
        9,
    )
    with serving(tiny_engine_dir.path, *arguments, variables=variables) as (_, url, _):
        host, _, port = url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), 20) as silent:
            assert httpx.get(f"{url}/health").status_code == 503
            assert silent.recv(100) == b""


def test_https(tiny_engine_dir: EngineDir, variables: dict[str, str], tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    arguments = (tiny_engine_dir.path, "--ssl-certfile", tmp_path / "server.pem")
    with serving(*arguments, variables=variables) as (_, url, _):
        assert url.startswith("https://127.0.0.1:")
        assert httpx.get(f"{url}/health", verify=context).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--ssl-keyfile", "key.pem"), 2, "need --ssl-certfile"),
        (("--ssl-certfile", "absent.pem"), 2, "--ssl-certfile absent.pem cannot be read: No such file"),
        (("--api-key", " "), 2, "--api-key is empty"),
        (("--api-key-file", "absent"), 2, "the key file absent cannot be read: No such file"),
    ],
)
def test_edges_that_cannot_be(
    tiny_engine_dir: EngineDir, bei: Run, arguments: tuple[str, ...], code: int, what: str
) -> None:
    assert_clear(bei("serve", tiny_engine_dir.path, *arguments), code, what)


def test_certificates_that_cannot_be(tiny_engine_dir: EngineDir, bei: Run, tmp_path: Path) -> None:
    """Each is told by what is wrong with it, before the model is loaded."""
    authority = trustme.CA()
    one, other = authority.issue_cert("a.example"), authority.issue_cert("b.example")
    pem, key, encrypted, der = (tmp_path / name for name in ("a.pem", "b.key", "a.key", "a.der"))
    one.cert_chain_pems[0].write_to_path(pem)
    other.private_key_pem.write_to_path(key)
    der.write_bytes(ssl.PEM_cert_to_DER_cert(one.cert_chain_pems[0].bytes().decode()))
    loaded = serialization.load_pem_private_key(one.private_key_pem.bytes(), None)
    how = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    encrypted.write_bytes(loaded.private_bytes(*how, serialization.BestAvailableEncryption(b"secret")))
    for arguments, what in (
        ((pem,), "--ssl-keyfile"),
        ((der,), "DER"),
        ((pem, "--ssl-keyfile", key), "is not that of the certificate"),
        ((pem, "--ssl-keyfile", encrypted), "is encrypted, and OPENBEI_SSL_KEYFILE_PASSWORD is not set"),
        ((pem, "--ssl-keyfile", encrypted, "--ssl-ca-certs", key), "--ssl-ca-certs"),
        ((tmp_path,), "is a directory"),
    ):
        done = bei("serve", tiny_engine_dir.path, "--ssl-certfile", *arguments)
        assert_clear(done, 2, what)
        assert "model:" not in done.stderr


@pytest.mark.parametrize(
    ("host", "keys", "warns"),
    [
        ("127.0.0.1", (), False),
        ("localhost", (), False),
        ("::1", (), False),
        ("0.0.0.0", (), True),
        ("::", (), True),
        ("10.1.2.3", (), True),
        ("example.org", (), True),
        ("0.0.0.0", ("key",), False),
    ],
)
def test_open_doors_are_told(host: str, keys: tuple[str, ...], warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    warn_if_open(host, Guard(keys))
    assert ("without API keys" in caplog.text) == warns


def assert_clear(done: "subprocess.CompletedProcess[str]", code: int, what: str) -> None:
    """A message that names what is wrong, the right exit code, and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    assert what in message
    assert len(message.splitlines()) <= 10
