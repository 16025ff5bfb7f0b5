"""Bodies that come compressed, and answers that go so: right, bounded, and only for those who ask."""

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest
import zstandard

from openbei.api.exchange.compression import INFLATERS, MIN_GZIP_BYTES, MIN_ZSTD_BYTES, inflate
from openbei.api.exchange.decoding import MalformedBodyError
from openbei.api.exchange.edge import Edge
from openbei.api.limits import MAX_FRAMES, Limits
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start

BODY = json.dumps({"input": ["w1 w2 w3"] * 500}).encode()


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


def zstd_stream(body: bytes) -> bytes:
    """Without the content's size in its head."""
    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(body) + compressor.flush()


def post(served: Served, body: bytes, encoding: str) -> httpx.Response:
    return served.client.post("/v1/embeddings", content=body, headers={"content-encoding": encoding})


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), "X-GZIP"),
        (gzip.compress(BODY[:100]) + gzip.compress(BODY[100:]), "gzip"),
        (zstd(BODY), "zstd"),
        (zstd_stream(BODY), "zstd"),
        (zstd(BODY[:100]) + zstd(BODY[100:]), "zstd"),
        (BODY, "identity"),
        (BODY, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else len(value),
)
def test_requests(served: Served, body: bytes, encoding: str) -> None:
    response = post(served, body, encoding)
    assert response.status_code == 200
    assert len(response.json()["data"]) == 500


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        (gzip.compress(BODY)[:-9], "gzip", 400, "malformed"),
        (zstd(BODY)[:-9], "zstd", 400, "malformed"),
        (zstd_stream(BODY)[:-3], "zstd", 400, "malformed"),
        (b"", "gzip", 400, "malformed"),
        (b"", "zstd", 400, "malformed"),
        (BODY, "gzip", 400, "malformed"),
        (BODY, "zstd", 400, "malformed"),
        (gzip.compress(BODY) + b"what is this", "gzip", 400, "malformed"),
        (zlib.compress(BODY), "deflate", 415, "unsupported_encoding"),
        (gzip.compress(zstd(BODY)), "zstd, gzip", 415, "unsupported_encoding"),
        (BODY, "x" * 300, 415, "unsupported_encoding"),
        (zstd(b" " * 50_000_000), "zstd", 413, "too_large"),
        (gzip.compress(b" " * 50_000_000), "gzip", 413, "too_large"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_requests_that_cannot_be_read(served: Served, body: bytes, encoding: str, status: int, code: str) -> None:
    response = post(served, body, encoding)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    if status == 415:
        assert response.headers["accept-encoding"] == "zstd, gzip"
    assert served.embed(input="w1").status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_frames_are_bounded(encoding: str) -> None:
    """A million empty ones fit in 10 MB, and each has a beginning that takes time."""
    compress, start = {"gzip": gzip.compress, "zstd": zstd}[encoding], INFLATERS[encoding.encode()]
    num_started = 0

    def counted() -> Any:
        nonlocal num_started
        num_started += 1
        return start()

    body = b"".join(compress(part) for part in (BODY[:100], *[b""] * (MAX_FRAMES - 2), BODY[100:]))
    assert inflate(body, counted, 10**9) == BODY
    num_started = 0
    with pytest.raises(MalformedBodyError, match="the compressed body has more than 1000 frames"):
        inflate(compress(b"") * 1_000_000, counted, 10**9)
    assert num_started <= MAX_FRAMES + 1


@pytest.mark.parametrize(
    ("body", "encoding"), [(gzip.compress(BODY), "gzip"), (zstd(BODY), "zstd")], ids=["gzip", "zstd"]
)
def test_what_inflates_has_a_limit_of_its_own(start: Start, body: bytes, encoding: str) -> None:
    """It costs the client little, so it may hold less than a body that comes as it is."""
    served = start(FakeEngine(), limits=Limits(max_inflated_bytes=len(BODY) - 1))
    response = post(served, body, encoding)
    assert response.status_code == 413
    assert f"the body inflates to more than {len(BODY) - 1} bytes" in response.text
    assert post(served, BODY, "identity").status_code == 200
    assert Limits().max_inflated_bytes < Limits().max_body_bytes


def raw(
    served: Served, num_texts: int, accept: str | None, encoding_format: str = "float"
) -> tuple[str | None, bytes, bytes]:
    """Content-Encoding, the body as sent, and the body as read."""
    headers = {"accept-encoding": accept or "identity"}
    request = served.client.build_request(
        "POST",
        "/v1/embeddings",
        json={"input": ["w1"] * num_texts, "encoding_format": encoding_format},
        headers=headers,
    )
    if accept is None:
        del request.headers["accept-encoding"]
    response = served.client.send(request, stream=True)
    sent = b"".join(response.iter_raw())
    name = response.headers.get("content-encoding")
    assert int(response.headers["content-length"]) == len(sent)
    assert response.headers["vary"] == "accept, accept-encoding"
    if name == "zstd":
        return name, sent, zstandard.ZstdDecompressor().decompress(sent)
    return name, sent, gzip.decompress(sent) if name == "gzip" else sent


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, gzip", "gzip"),
        ("zstd;q=0.0, gzip;q=0", None),
        ("*", "zstd"),
        ("*, zstd;q=0", "gzip"),
        ("*;q=0", None),
        ("zstd;q=-1", None),
    ],
)
def test_answers(served: Served, accept: str | None, wanted: str | None) -> None:
    name, sent, read = raw(served, 200, accept)
    assert len(read) > MIN_GZIP_BYTES
    assert name == wanted
    assert (len(sent) < len(read)) == (wanted is not None)
    assert len(json.loads(read)["data"]) == 200


def test_small_answers_stay_as_they_are(served: Served) -> None:
    name, sent, _ = raw(served, 1, "zstd, gzip")
    assert len(sent) < MIN_ZSTD_BYTES
    assert name is None
    name, _, read = raw(served, 20, "gzip")
    assert MIN_ZSTD_BYTES < len(read) < MIN_GZIP_BYTES
    assert name is None


def test_base64_is_worth_zstd_only(served: Served) -> None:
    for accept, wanted in (("gzip", None), ("gzip, zstd", "zstd")):
        name, _, read = raw(served, 200, accept, "base64")
        assert len(read) > MIN_GZIP_BYTES
        assert name == wanted


def test_large_answers(start: Start) -> None:
    served = start(FakeEngine(hidden_size=512))
    name, _, read = raw(served, 400, "zstd")
    assert name == "zstd"
    assert len(json.loads(read)["data"]) == 400


def test_switched_off(start: Start) -> None:
    served = start(FakeEngine(), edge=Edge(compresses=False))
    response = served.client.post(
        "/v1/embeddings", json={"input": ["w1"] * 200}, headers={"accept-encoding": "zstd, gzip"}
    )
    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "accept"
    assert post(served, zstd(BODY), "zstd").status_code == 200
