"""Hostile bodies to every route of every kind of model: a clear refusal, and the next request is answered."""

import json
import random
from collections.abc import Iterator

import httpx
import pytest
import zstandard

from openbei.api.routes import ROUTES

from .conftest import KEY, Server

PATHS = sorted({row.path for row in ROUTES if row.method == "POST"})
FIELDS = [
    *("input", "inputs", "texts", "query", "documents", "text_1", "text_2", "ids", "instances", "model", "truncate"),
    *("dimensions", "input_type", "embedding_types", "aggregation_strategy", "top_n", "parameters", "images"),
]
DEEP = b"[" * 50_000 + b"]" * 50_000
BOMB = zstandard.compress(b"x" * 200_000_000)


def values(pick: random.Random, depth: int = 0) -> object:
    """Any JSON, the odd and the large above all."""
    simple = [
        None,
        True,
        0,
        -1,
        2**31,
        2**64,
        1e308,
        -0.0,
        "",
        " ",
        "\x00",
        "é" * 300,
        "\u202e",
        "a b",
        "word " * 400,
        [],
        {},
    ]
    if depth > 2 or pick.random() < 0.6:
        return pick.choice(simple)
    if pick.random() < 0.7:
        return [values(pick, depth + 1) for _ in range(pick.choice([1, 2, 3, 80]))]
    return {pick.choice([*FIELDS, "source_sentence", "sentences", "text"]): values(pick, depth + 1) for _ in range(3)}


def bodies(seed: int) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Bodies and the headers that go with them."""
    pick = random.Random(seed)
    yield from (
        (body, {}) for body in (b"", b"{", b"\xff\xfe", b"null", b"[]", b'"text"', DEEP, b'{"inputs": ' + DEEP + b"}")
    )
    yield b'{"inputs": "\\ud800", "input": "\\ud800", "query": "\\udfff", "texts": ["\\ud800"]}', {}
    yield b"{}", {"content-encoding": "br"}
    yield b"not gzip", {"content-encoding": "gzip"}
    yield BOMB, {"content-encoding": "zstd"}
    yield b"{}", {"request-timeout-ms": "-5"}
    yield b"{}", {"accept": "application/msgpack;q=nan, */*;q=9, ;;;"}
    for _ in range(40):
        names = pick.sample(FIELDS, pick.randrange(1, 6))
        yield json.dumps({name: values(pick) for name in names}).encode(), {}


@pytest.mark.parametrize("name", ["embedder", "reranker", "moods", "tagger", "splade"])
def test_every_route(name: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(name)
    seen = set()
    with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client:
        for number, path in enumerate([*PATHS, "/"]):
            for body, headers in bodies(number):
                answer = client.post(path, content=body, headers=headers)
                assert answer.status_code in (200, 400, 408, 413, 415, 422, 424), (path, body[:200], answer.text)
                assert "Traceback" not in answer.text
                if answer.status_code != 200:
                    assert len(answer.text) < 2000, (path, body[:200])
                seen.add(answer.status_code)
            assert client.get("/health").status_code == 200
    assert seen >= {200, 400, 413, 415, 422}
