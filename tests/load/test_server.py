"""URLs of servers, and the requests that are sent to them."""

import itertools
import json

import numpy as np
import pytest

from openbei.errors import InputError
from openbei.load.client import run
from openbei.load.generator import LoadResult, Schedule, run_open_loop
from openbei.load.server import BODIES, parse_server
from openbei.secrets import Secret

from .loopback import Loopback, loopback


@pytest.mark.parametrize(
    ("given", "label", "address", "path"),
    [
        ("http://localhost:8000", "localhost:8000", ("localhost", 8000), "/v1/embeddings"),
        ("http://localhost", "localhost:80", ("localhost", 80), "/v1/embeddings"),
        ("vLLM=http://10.0.0.1:8000/v1/", "vLLM", ("10.0.0.1", 8000), "/v1/embeddings"),
        ("a b=https://host/x/embed", "a b", ("host", 443), "/x/embed"),
        ("http://[::1]:9/rerank?a=b", "::1:9", ("::1", 9), "/rerank?a=b"),
    ],
)
def test_urls(given: str, label: str, address: tuple[str, int], path: str) -> None:
    server = parse_server(given)
    assert (server.label, (server.host, server.port), server.path) == (label, address, path)
    assert (server.tls is not None) == ("https" in given)
    scheme, name = ("https" if server.tls else "http"), "[::1]" if "::1" in given else address[0]
    assert server.address == f"{scheme}://{name}:{address[1]}{path.partition('?')[0]}"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "localhost:8000",
        "ftp://host",
        "http://",
        "http://h:99999",
        "http://u:secret@h",
        "ftp://u:secret@h",
        "http://u:secret@h:x",
        "http://h/chat",
        "x=http:/h",
    ],
)
def test_refused_urls(given: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_server(given)
    assert "secret" not in str(raised.value)


def body(given: str, model: str | None = None) -> dict[str, object]:
    server = parse_server(given, model=model)
    request = next(server.requests(["x", "y", "z"], 2))
    content: dict[str, object] = json.loads(request.split(b"\r\n\r\n", 1)[1])
    return content


def test_bodies() -> None:
    assert body("http://h") == {"model": "default", "input": ["0 x", "0 y"], "encoding_format": "base64"}
    assert body("http://h/embed") == {"inputs": ["0 x", "0 y"], "truncate": True}
    assert body("http://h/rerank") == {"query": "0 x", "texts": ["0 x", "0 y"], "truncate": True}
    assert body("http://h/v1/rerank") == {"model": "default", "query": "0 x", "documents": ["0 x", "0 y"]}
    assert body("http://h/predict") == {"inputs": [["0 x"], ["0 y"]], "truncate": True}


@pytest.mark.parametrize("end", BODIES)
def test_the_model_is_in_all_bodies(end: str) -> None:
    assert body(f"http://h{end}", "m") == body(f"http://h{end}") | {"model": "m"}


def test_no_two_requests_are_equal() -> None:
    requests = list(itertools.islice(parse_server("http://h").requests(["x"], 1), 50))
    assert len(set(requests)) == 50


def test_what_a_server_receives() -> None:
    """A whole request with its length, the model and the key, over one connection."""

    async def main() -> tuple[LoadResult, Loopback]:
        async with loopback() as (handler, server):
            target = parse_server(f"http://127.0.0.1:{server.port}", model="é", key=Secret("k"))
            result = await run_open_loop(
                target, target.requests(["ü", "b"], 1), Schedule(np.array([0.0, 0.05, 0.1]), 0.2)
            )
            return result, handler

    result, handler = run(main())
    assert result.outcomes == {"200": 3}
    assert [json.loads(content)["input"] for _, content in handler.received] == [["0 ü"], ["1 b"], ["2 ü"]]
    assert json.loads(handler.received[0][1])["model"] == "é"
    assert all(b"\r\nAuthorization: Bearer k\r\n" in head for head, _ in handler.received)
    assert "k" not in repr(Secret("k"))[7:]
