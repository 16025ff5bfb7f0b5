"""Ids and costs in answers' headers; what is refused before it is a request."""

import re
import socket
import time

import pytest

from openbei.api.connections.gate import ConnectionLimits
from openbei.api.connections.rejection import MAX_HEADER_BYTES, MAX_URL_BYTES
from openbei.serving.fake_engine import FakeEngine

from ...small_tokenizer import words
from ..conftest import MAX_TOKENS, Served, Start

REQUESTS = [
    ("POST", "/v1/embeddings", {"input": "w1"}, 200),
    ("POST", "/v1/embeddings", {"input": []}, 400),
    ("GET", "/health", None, 200),
    ("GET", "/nowhere", None, 404),
    ("DELETE", "/v1/embeddings", None, 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REQUESTS)
def test_ids_come_back_in_every_answer(
    served: Served, method: str, path: str, body: dict[str, object] | None, status: int
) -> None:
    sent = {"x-request-id": "mine ~1", "x-baseten-customer-request-id": "perfclient-0-0"}
    response = served.client.request(method, path, json=body, headers=sent)
    assert response.status_code == status
    assert response.headers["x-request-id"] == response.headers["x-baseten-request-id"] == "mine ~1"
    assert response.headers["x-baseten-customer-request-id"] == "perfclient-0-0"
    assert "server" not in response.headers
    without = [served.client.request(method, path, json=body).headers for _ in range(2)]
    assert len({headers["x-request-id"] for headers in without}) == 2
    assert all(len(headers["x-request-id"]) == 32 for headers in without)
    assert "x-baseten-customer-request-id" not in without[0]


def test_the_id_of_a_hosted_deployment_comes_back(served: Served) -> None:
    """A proxy in front has named the request already."""
    headers = served.client.get("/health", headers={"x-baseten-request-id": "theirs"}).headers
    assert headers["x-request-id"] == headers["x-baseten-request-id"] == "theirs"
    both = {"x-baseten-request-id": "theirs", "x-request-id": "mine"}
    headers = served.client.get("/health", headers=both).headers
    assert (headers["x-request-id"], headers["x-baseten-request-id"]) == ("mine", "theirs")


@pytest.mark.parametrize("bad", ["", "x" * 129, "tab\tinside", "ä"])
def test_ids_that_are_not_taken(served: Served, bad: str) -> None:
    sent = {"x-request-id": bad.encode(), "x-baseten-customer-request-id": bad.encode()}
    sent["x-baseten-request-id"] = bad.encode()
    response = served.client.get("/health", headers=sent)
    assert response.status_code == 200
    assert len(response.headers["x-request-id"]) == 32
    assert "x-baseten-customer-request-id" not in response.headers


def test_what_an_answer_cost(served: Served) -> None:
    texts = [words(1, 3), words(2, 2 * MAX_TOKENS)]
    response = served.embed(input=texts)
    headers = response.headers
    assert headers["x-compute-type"] == "cpu+fake"
    assert headers["x-compute-characters"] == str(sum(map(len, texts)))
    assert headers["x-compute-tokens"] == str(response.json()["usage"]["total_tokens"])
    assert headers["x-truncated-inputs"] == "1"
    names = ("x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time")
    total, *parts = (int(headers[name]) for name in names)
    assert sum(parts) <= total
    assert headers["x-compute-time"] == headers["x-total-time"]
    stages = dict(re.findall(r"(\w+);dur=(\d+\.\d{3})(?:, |$)", headers["server-timing"]))
    assert [*stages] == ["tokenization", "queue", "inference", "serialization", "total"]
    for name, whole_ms in zip(("total", "tokenization", "queue", "inference"), (total, *parts), strict=True):
        assert 0 <= float(stages[name]) - whole_ms <= 1


def test_errors_and_other_routes_cost_nothing(served: Served) -> None:
    for response in (served.embed(input=[]), served.embed(input=words(666, 1)), served.client.get("/v1/models")):
        assert not [name for name in response.headers if name.startswith(("x-compute", "server-timing"))]


def exchange(served: Served, *parts: bytes) -> bytes:
    """Send bytes, and read until the server hangs up."""
    answer = b""
    with socket.create_connection(served.address, 20) as connection:
        for part in parts:
            connection.sendall(part)
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "parts",
    [
        (b"GET / HTTP/1.1\r\nx: " + b"a" * (2 * MAX_HEADER_BYTES),),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * MAX_HEADER_BYTES + b"\r\n\r\n",),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % i for i in range(MAX_HEADER_BYTES // 4)),),
        (b"GET / HTTP/1.1\r\n", *(b"x-%d: %s\r\n" % (i, b"a" * 1000) for i in range(80))),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nx: " + b"a" * (8 * MAX_HEADER_BYTES),),
    ],
    ids=["endless", "complete", "many", "slowly", "second request"],
)
def test_headers_without_end(served: Served, parts: tuple[bytes, ...]) -> None:
    answer = exchange(served, *parts)
    assert b"HTTP/1.1 431 Request Header Fields Too Large\r\n" in answer
    assert b'"code":"request_header_fields_too_large"' in answer
    assert served.client.get("/health").status_code == 200


@pytest.mark.parametrize("ending", [b"", b" HTTP/1.1\r\nhost: x\r\n\r\n"])
def test_urls_without_end(served: Served, ending: bytes) -> None:
    answer = exchange(served, b"GET /" + b"a" * MAX_URL_BYTES + ending)
    assert answer.startswith(b"HTTP/1.1 414 ")
    assert b"connection: close" in answer
    assert b"longer than 8192 bytes" in answer


def test_headers_within_the_limits(served: Served) -> None:
    long = {f"x-{i}": "a" * 1000 for i in range(60)}
    assert served.client.get("/health?" + "a" * (MAX_URL_BYTES - 100), headers=long).status_code == 200


def test_trailers_without_end(served: Served) -> None:
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    answer = exchange(served, head + b"".join(b"x-%d: %s\r\n" % (i, b"a" * 1000) for i in range(80)) + b"\r\n")
    assert b"HTTP/1.1 431" in answer


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01 hello\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"]
)
def test_not_http(served: Served, data: bytes) -> None:
    answer = exchange(served, data)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"this is not HTTP/1.1" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nhost: x",
        b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
    ],
    ids=["headers", "body"],
)
def test_requests_that_never_end(data: bytes, start: Start) -> None:
    served = start(FakeEngine(), connections=ConnectionLimits(request_timeout_s=1))
    answer = exchange(served, data)
    assert b"HTTP/1.1 408 Request Timeout\r\n" in answer
    assert b"the request did not arrive in time" in answer


def test_a_request_in_slow_parts_is_answered(start: Start) -> None:
    """As long as it brings more than the least that is wanted."""
    served = start(FakeEngine(), connections=ConnectionLimits(request_timeout_s=1, min_bytes_per_s=0.1))
    body = b'{"input": "w1"}'
    with socket.create_connection(served.address, 20) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
        for byte in body:
            time.sleep(0.1)
            connection.sendall(bytes([byte]))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
