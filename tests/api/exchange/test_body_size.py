"""Bodies that are small on the wire and large in memory: refused before they become objects."""

import gzip
import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from openbei.api.exchange.decoding import check_size
from openbei.api.limits import MAX_ELEMENTS, Limits
from openbei.errors import InputError
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start

MANY = MAX_ELEMENTS + 1
BOMBS = {
    "lists": b'{"inputs":[' + b"[]," * MANY + b"[]]}",
    "token ids": b'{"inputs":[' + b"101," * MANY + b"102]}",
    "lists of ids": b'{"inputs":[' + b"[1,2]," * (MANY // 2) + b"[1]]}",
    "texts": b'{"inputs":[' + b'"",' * MANY + b'""]}',
    "objects": b'{"inputs":[' + b"{}," * MANY + b"{}]}",
    "fields": b'{"inputs":"w1",' + b",".join(b'"%d":1' % i for i in range(MANY)) + b"}",
    "an unknown field": b'{"inputs":"w1","x":[' + b"1," * MANY + b"1]}",
    "escapes": b'{"inputs":["\\\\",' + b"1," * MANY + b"1]}",
}


@pytest.fixture
def roomy(start: Start) -> Served:
    return start(FakeEngine(), limits=Limits())


@pytest.mark.parametrize("name", BOMBS)
def test_they_are_refused(roomy: Served, name: str) -> None:
    body = gzip.compress(BOMBS[name])
    for path in ("/embed", "/v1/embeddings", "/tokenize", "/decode", "/vertex", "/"):
        response = roomy.client.post(path, content=body, headers={"content-encoding": "gzip"})
        assert response.status_code == 422, path
        assert f"the body has more than {MAX_ELEMENTS} values" in response.text


@pytest.mark.parametrize("name", BOMBS)
def test_no_object_is_made(name: str) -> None:
    body = BOMBS[name]
    tracemalloc.start()
    try:
        with pytest.raises(InputError):
            check_size(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 4 * len(body)


@pytest.mark.parametrize(
    "value",
    [
        {"inputs": "," * 2 * MANY},
        {"inputs": '[{",\\' * MANY},
        {"inputs": ["[,]" * 1000] * 2000},
        {"inputs": [[5] * 400] * 2000},
    ],
    ids=["commas", "quotes", "texts", "ids"],
)
def test_marks_in_texts_are_not_values(value: Any) -> None:
    check_size(json.dumps(value).encode())
    check_size(msgspec.json.encode(value))


def test_many_token_ids_are_cut(roomy: Served) -> None:
    """As many as a body may hold are read, and the model's limit is kept."""
    response = roomy.embed(input=[5] * (MAX_ELEMENTS - 10))
    assert response.status_code == 200
    assert response.headers["x-truncated-inputs"] == "1"
    assert response.json()["usage"]["total_tokens"] == MAX_ELEMENTS - 10
