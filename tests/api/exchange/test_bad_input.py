"""What a client can get wrong: a clear error, and the server answers the next request."""

import json
import socket
from collections.abc import Iterator

import httpx
import pytest

from ...small_tokenizer import VOCAB_SIZE, words
from ..conftest import MAX_TOKENS, Served, Start

BODIES = [
    (b"", 400, None, "not JSON"),
    (b"{", 400, None, "not JSON"),
    (b'{"input": "w1"} x', 400, None, "not JSON"),
    (b'{"input": ' + b"[" * 100_000, 422, "input[0][0]", "Expected `int`, got `array`"),
    (b'{"other": ' + b"[" * 100_000, 400, None, "not JSON"),
    (b'{"input": "\xff"}', 400, None, "not valid UTF-8"),
    (b'{"input": "\xed\xa0\x80"}', 400, None, "not valid UTF-8"),
    (b'{"input": "\\ud800"}', 422, "input", "input has half a surrogate pair"),
    (b'{"input": "a", "user": "\\ud800"}', 422, "user", "user has half a surrogate pair"),
    (b'{"input": ["a", "\\udc00 b"]}', 422, "input[1]", "input[1] has half a surrogate pair"),
    (b"null", 422, None, "Expected `object`"),
    (b"[]", 422, None, "Expected `object`"),
    (b"{}", 422, "input", "missing required field `input`"),
    (b'{"input": null}', 422, "input", "got `null`"),
    (b'{"input": 3}', 422, "input", "got `int`"),
    (b'{"input": ["a", 3.5]}', 422, "input[1]", "got `float`"),
    (b'{"input": [[1, "a"]]}', 422, "input[0][1]", "Expected `int`, got `str`"),
    (b'{"input": [true]}', 422, "input[0]", "got `bool`"),
    (b'{"input": ["a", 1]}', 422, "input", "mixes"),
    (b'{"input": ["a", [1]]}', 422, "input", "mixes"),
    (b'{"input": []}', 400, "input", "input is an empty list"),
    (b'{"input": ""}', 422, "input", "input is an empty string"),
    (b'{"input": ["a", ""]}', 422, "input[1]", "input[1] is an empty string"),
    (b'{"input": [[1], []]}', 422, "input[1]", "input[1] has no tokens"),
    (b'{"input": [1, -1]}', 422, "input[1]", "input[1] is -1, token ids are 0 to"),
    (b'{"input": [[1], [2, 99999]]}', 422, "input[1][1]", f"is 99999, token ids are 0 to {VOCAB_SIZE - 1}"),
    (b'{"input": [1180591620717411303424]}', 422, "input[0]", "token ids are 0 to"),
    (b'{"input": "w1", "dimensions": 0}', 422, "dimensions", "dimensions is 0; it must be 1 to 8"),
    (b'{"input": "w1", "dimensions": 9}', 422, "dimensions", "dimensions is 9"),
    (b'{"input": "w1", "dimensions": -3}', 422, "dimensions", "dimensions is -3"),
    (b'{"input": "w1", "dimensions": 1.5}', 422, "dimensions", "got `float`"),
    (b'{"input": "w1", "encoding_format": "hex"}', 422, "encoding_format", "hex"),
    (b'{"input": "w1", "model": 7}', 422, "model", "got `int`"),
    (b'{"input": "w1", "user": []}', 422, "user", "got `array`"),
    (
        json.dumps({"input": ["w1"] * 10_000}).encode(),
        422,
        "input",
        "batch size 10000 > maximum allowed batch size 2048",
    ),
    (json.dumps({"input": [[1]] * 2049}).encode(), 422, "input", "batch size 2049 > maximum allowed batch size 2048"),
    (json.dumps({"input": "x" * 1_000_001}).encode(), 413, None, "larger than 1000000 bytes"),
]


@pytest.fixture(autouse=True)
def answers_afterwards(served: Served) -> Iterator[None]:
    yield
    assert served.embed(input="w1").status_code == 200


def check(response: httpx.Response, status: int, param: str | None, text: str) -> None:
    assert response.status_code == status
    error = response.json()["error"]
    assert response.json()["detail"] == error["message"]  # where Jina's clients look
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert error["param"] == param
    assert text in error["message"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize(("body", "status", "param", "text"), BODIES, ids=lambda v: str(v)[:40])
def test_bodies(served: Served, body: bytes, status: int, param: str | None, text: str) -> None:
    check(served.client.post("/v1/embeddings", content=body), status, param, text)


def test_too_large_without_a_length(served: Served) -> None:
    """A chunked body is counted while it comes."""
    chunks = (b"x" * 100_000 for _ in range(30))
    check(served.client.post("/v1/embeddings", content=chunks), 413, None, "larger than 1000000 bytes")


def test_a_text_of_5_mb(served: Served, start: Start) -> None:
    own = start(served.engine)
    response = own.embed(input="w1 " * 1_700_000)
    assert response.status_code == 200
    assert response.headers["x-truncated-inputs"] == "1"
    assert response.json()["usage"]["total_tokens"] > MAX_TOKENS


def test_no_such_route(served: Served) -> None:
    check(served.client.get("/v1/nothing"), 404, None, "GET /v1/nothing: Not Found")
    check(served.client.post("/v1/embeddings/", json={}), 404, None, "Not Found")
    response = served.client.get("/v1/embeddings")
    check(response, 405, None, "Method Not Allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("header", ["request-timeout-ms", "request-deadline-ms"])
def test_time_limits(served: Served, header: str) -> None:
    bad = served.client.post("/v1/embeddings", json={"input": "w1"}, headers={header: "soon"})
    check(bad, 422, header, "is not a whole number")
    late = served.client.post("/v1/embeddings", json={"input": "w1"}, headers={header: "0"})
    assert late.status_code == 408
    assert late.json()["error"]["code"] == "timeout"


def test_a_failing_batch(served: Served) -> None:
    check(served.embed(input=words(666, 1)), 500, None, "the batch failed in the engine: EngineError")


def test_a_body_that_ends_early(served: Served) -> None:
    before = served.value("te_request_failure", err="dropped")
    with socket.create_connection(served.address) as connection:
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    served.await_value("te_request_failure", before + 1, err="dropped")
