"""JSON or MessagePack, as the client wants it; numbers that arrive bit by bit; the real client of BEI."""

import asyncio
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from baseten_performance_client import PerformanceClient, RequestProcessingPreference

from openbei.api.dialects.openai import Embedding
from openbei.api.exchange import compression, encoding
from openbei.errors import EngineError
from openbei.serving.fake_engine import FakeEngine
from openbei.spec import SequenceHead

from ...small_tokenizer import ids, words
from ..conftest import Served, Start, small_manifest

PACKED = b"application/msgpack"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, encoding.JSON),
        (b"", encoding.JSON),
        (b"*/*", encoding.JSON),
        (b"application/*", encoding.JSON),
        (b"text/html", encoding.JSON),
        (b"application/json", encoding.JSON),
        (b"application/msgpack", PACKED),
        (b"Application/MsgPack", PACKED),
        (b"application/json, application/msgpack", PACKED),
        (b"application/msgpack;q=0.5, application/json", encoding.JSON),
        (b"application/json;q=0.5, application/msgpack;q=0.6", PACKED),
        (b"application/msgpack;q=0.5, */*;q=0.1", PACKED),
        (b"application/msgpack;q=0.5, */*", encoding.JSON),
        (b"application/msgpack;q=0", encoding.JSON),
        (b"application/msgpack;q=nan", encoding.JSON),
        (b"application/msgpack;q=much", encoding.JSON),
        (b"application/x-msgpack", b"application/x-msgpack"),
        (b"application/vnd.msgpack", b"application/vnd.msgpack"),
        (b"application/messagepack", b"application/messagepack"),
        (b"application/x-msgpack;q=0.1, application/msgpack;q=0.2", PACKED),
        (b"application/x-msgpack, application/json;q=0.1", b"application/x-msgpack"),
        (b",;,q=1;=", encoding.JSON),
    ],
)
def test_choice(accept: bytes | None, content_type: bytes) -> None:
    assert encoding.preferred_type(accept) == content_type


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 65535, 65536, 70000])
def test_message_pack_rows(size: int) -> None:
    row = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    packed = encoding.message_pack_row(row)
    np.testing.assert_array_equal(np.array(msgspec.msgpack.decode(packed), np.float32), row)


@pytest.mark.parametrize("accept", [None, PACKED])
def test_answers_hold_rows_matrices_and_numpy_numbers(accept: bytes | None) -> None:
    matrix = np.random.default_rng(0).standard_normal((3, 17)).astype(np.float32)
    answer = {
        "row": matrix[0],
        "column": matrix[:, 1],
        "matrix": matrix,
        "nested": [[matrix[1]]],
        "score": matrix[0, 0],
        "ids": np.array([1, 2], np.int32),
        "text": "ä",
    }
    body, content_type = encoding.encode(answer, accept)
    read = json.loads(body) if content_type == encoding.JSON else msgspec.msgpack.decode(body)
    np.testing.assert_array_equal(np.array(read["row"], np.float32), matrix[0])
    np.testing.assert_array_equal(np.array(read["column"], np.float32), matrix[:, 1])
    np.testing.assert_array_equal(np.array(read["matrix"], np.float32), matrix)
    np.testing.assert_array_equal(np.array(read["nested"], np.float32), [[matrix[1]]])
    assert np.float32(read["score"]) == matrix[0, 0]
    assert (read["ids"], read["text"]) == ([1, 2], "ä")


@pytest.mark.parametrize("accept", [None, PACKED])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_an_error_and_never_half_an_answer(accept: bytes | None, bad: float) -> None:
    with pytest.raises(EngineError, match="not finite"):
        encoding.encode([np.array([1, bad], np.float32)], accept)


ROW = np.zeros(encoding.INLINE_NUMBERS + 1, np.float32)


@pytest.mark.parametrize(
    ("answer", "is_large"),
    [
        (b"", False),
        ([ROW[:1000]] * 8, False),
        ([ROW[:1000]] * 9, True),
        ([encoding.base64_text(ROW[:1000])] * 9, True),
        ([[[ROW]]], True),
        (Embedding(encoding.floats(ROW), 0), True),
        ({"a": {"b": Embedding(encoding.floats(ROW), 0)}}, True),
        ([0.5] * 1000, False),
        ([0.5] * 1100, True),
        ([[], [0.5] * 1100], True),
        ("a" * 50_000, False),
        ("a" * 90_000, True),
        (b"a" * 90_000, True),
        ([Embedding([], 0)] * 300, True),
        (np.zeros((3, ROW.size), np.int8), True),
    ],
)
def test_large_answers(answer: object, is_large: bool) -> None:
    assert encoding.is_large(answer) == is_large


@pytest.mark.parametrize("num_texts", [1, 100])
@pytest.mark.parametrize("accept", ["application/json", "application/msgpack"])
@pytest.mark.parametrize("encoding_format", ["float", "base64", "int8"])
def test_large_answers_are_written_outside_of_the_event_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch, num_texts: int, accept: str, encoding_format: str
) -> None:
    is_outside: list[bool] = []

    def spy(module: Any, name: str) -> None:
        function = getattr(module, name)

        def recorded(*args: Any, **kwargs: Any) -> Any:
            is_outside.append(asyncio._get_running_loop() is None)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, recorded)

    spy(encoding, "encode")
    spy(compression, "deflated")
    served = start(FakeEngine(hidden_size=512))
    request = {"input": ["w1"] * num_texts, "encoding_format": encoding_format}
    answer = served.client.post("/v1/embeddings", json=request, headers={"accept": accept})
    assert answer.status_code == 200
    assert is_outside == [num_texts == 100] * 2


def test_message_pack_over_http(served: Served) -> None:
    response = served.client.post("/v1/embeddings", json={"input": words(1, 3)}, headers={"accept": PACKED.decode()})
    assert response.headers["content-type"] == "application/msgpack"
    assert response.headers["vary"] == "accept, accept-encoding"
    answer = msgspec.msgpack.decode(response.content)
    assert answer["object"] == "list"
    np.testing.assert_allclose(answer["data"][0]["embedding"], served.expected(ids(1, 3)), atol=1e-6)


def test_errors_are_json_for_everyone(served: Served) -> None:
    headers = {"accept": "application/msgpack"}
    response = served.client.post("/v1/embeddings", json={"input": []}, headers=headers)
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["code"] == "empty"


def test_the_same_numbers_in_json_message_pack_and_base64(served: Served) -> None:
    plain = served.embed(input=words(2, 5)).json()["data"][0]["embedding"]
    packed = served.client.post(
        "/v1/embeddings", json={"input": words(2, 5)}, headers={"accept": "application/msgpack"}
    )
    row = msgspec.msgpack.decode(packed.content)["data"][0]["embedding"]
    np.testing.assert_array_equal(np.array(plain, np.float32), np.array(row, np.float32))


def test_performance_client(start: Start) -> None:
    """It accepts MessagePack and zstd, and keeps the order of texts over many requests."""
    served = start(FakeEngine(hidden_size=512))
    client = PerformanceClient(base_url=served.url, api_key="any")
    texts = [words(i, 3) for i in range(40)]
    expected = np.stack([served.expected(ids(i, 3)) for i in range(40)])
    preference = RequestProcessingPreference(batch_size=8, max_concurrent_requests=4)
    sync = client.embed(input=texts, model="any", preference=preference)
    np.testing.assert_allclose(sync.numpy(), expected, atol=1e-6)

    async def embed_again() -> Any:
        return await client.async_embed(input=texts, model="any", preference=preference)

    again = asyncio.run(embed_again())
    np.testing.assert_array_equal(again.numpy(), sync.numpy())
    posted = client.batch_post(url_path="/v1/embeddings", payloads=[{"input": text, "model": "m"} for text in texts])
    rows = np.array([body["data"][0]["embedding"] for body in posted.data], np.float32)
    np.testing.assert_array_equal(rows, sync.numpy())
    answered = [headers.get("content-type") for headers in sync.response_headers]
    assert answered == ["application/msgpack"] * 5


@pytest.mark.parametrize("num_labels", [1, 3])
def test_performance_client_of_other_models(start: Start, num_labels: int) -> None:
    """Its parsers for scores and labels read MessagePack too."""
    head = SequenceHead(num_labels=num_labels)
    labels = tuple(f"label {i}" for i in range(num_labels))
    route = "/rerank" if num_labels == 1 else "/predict"
    manifest = small_manifest(head, labels=labels, default_route=route)
    served = start(FakeEngine(hidden_size=num_labels), manifest=manifest)
    client = PerformanceClient(base_url=served.url, api_key="any")
    texts = [words(i, 3) for i in range(40)]
    preference = RequestProcessingPreference(batch_size=8)
    if num_labels == 1:
        ranked = client.rerank(query="w1", texts=texts, truncate=True, preference=preference)
        plain = served.client.post("/rerank", json={"query": "w1", "texts": texts}).json()
        assert [item.index for item in ranked.data] == list(range(40))
        np.testing.assert_allclose([item.score for item in ranked.data], [item["score"] for item in plain], atol=1e-7)
    else:
        found = client.classify(inputs=texts, truncate=True, preference=preference)
        plain = served.client.post("/predict", json={"inputs": [[text] for text in texts]}).json()
        assert [[one.label for one in row] for row in found.data] == [[one["label"] for one in row] for row in plain]
