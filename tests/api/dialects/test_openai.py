"""POST /v1/embeddings when all is well."""

import base64
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest

from openbei.serving.fake_engine import FakeEngine
from openbei.spec import Dense, EmbeddingHead
from openbei.tasks.precision import Precision, quantize

from ...small_tokenizer import ids, words
from ..conftest import MAX_TOKENS, Served, Start, small_manifest


def test_one_text(served: Served) -> None:
    response = served.embed(input=words(1, 3), model="anything")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert "x-truncated-inputs" not in response.headers
    body = response.json()
    [item] = body.pop("data")
    np.testing.assert_allclose(item.pop("embedding"), served.expected(ids(1, 3)), atol=1e-6)
    assert item == {"object": "embedding", "index": 0}
    assert body == {"object": "list", "model": "small", "usage": {"prompt_tokens": 5, "total_tokens": 5}}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ([words(1, 2), words(9, 4)], [ids(1, 2), ids(9, 4)]),
        ([5, 6, 7], [[5, 6, 7]]),
        ([[5, 6], [7]], [[5, 6], [7]]),
        (["  ", "w1\n\tw2 "], [[2, 3], ids(1, 2)]),
    ],
    ids=["texts", "token ids", "lists of token ids", "texts are not stripped"],
)
def test_shapes_of_input(served: Served, given: object, read: list[list[int]]) -> None:
    body = served.embed(input=given).json()
    assert [item["index"] for item in body["data"]] == list(range(len(read)))
    for item, token_ids in zip(body["data"], read, strict=True):
        np.testing.assert_allclose(item["embedding"], served.expected(token_ids), atol=1e-6)
    assert body["usage"]["total_tokens"] == sum(map(len, read))


@pytest.mark.parametrize("path", ["/embeddings", "/"])
def test_other_paths(served: Served, path: str) -> None:
    assert served.client.post(path, json={"input": "w1"}).json() == served.embed(input="w1").json()


def test_base64_holds_the_same_floats(served: Served) -> None:
    floats = served.embed(input=["w1", "w2"], encoding_format="float").json()["data"]
    coded = served.embed(input=["w1", "w2"], encoding_format="base64").json()["data"]
    for one, other in zip(floats, coded, strict=True):
        decoded = np.frombuffer(base64.b64decode(other["embedding"]), "<f4")
        np.testing.assert_array_equal(np.array(one["embedding"], np.float32), decoded)


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_fewer_bits(served: Served, precision: Precision) -> None:
    vectors = np.array([served.expected(ids(1, 1)), served.expected(ids(2, 1))])
    data = served.embed(input=["w1", "w2"], encoding_format=precision).json()["data"]
    assert [item["embedding"] for item in data] == quantize(vectors, precision).tolist()
    refused = served.embed(input="w1", encoding_format="binary", dimensions=7)
    assert refused.status_code == 422
    assert "binary embeddings need a multiple of 8" in refused.json()["error"]["message"]


def test_dimensions_are_those_of_the_last_step(start: Start) -> None:
    """Not those of the model's layers, of which this one has 8."""
    head = EmbeddingHead(poolings=("mean", "cls"), steps=(Dense(out_features=12),))
    served = start(FakeEngine(hidden_size=12), manifest=small_manifest(head))
    for dimensions, status in ((None, 200), (12, 200), (13, 422)):
        response = served.embed(input="w1", dimensions=dimensions)
        assert response.status_code == status
        assert status != 200 or len(response.json()["data"][0]["embedding"]) == 12


def test_zero_dimensions(served: Served) -> None:
    """Clients of Infinity send 0 for all dimensions, and `modality`; in other requests 0 is refused."""
    [item] = served.post("/embeddings", input=["w1"], modality="text", dimensions=0)["data"]
    np.testing.assert_allclose(item["embedding"], served.expected(ids(1, 1)), atol=1e-6)
    assert served.refused("/embeddings", input=["w1"], dimensions=0) == (422, "dimensions is 0; it must be 1 to 8")
    assert served.refused("/embeddings", input=["w1"], modality="image")[1].startswith('modality is "image"')


@pytest.mark.parametrize("dimensions", [1, 3, 8])
def test_dimensions(served: Served, dimensions: int) -> None:
    [item] = served.embed(input="w1", dimensions=dimensions).json()["data"]
    np.testing.assert_allclose(item["embedding"], served.expected(ids(1, 1), dimensions), atol=1e-6)


def test_truncation_is_told(served: Served) -> None:
    before = served.value("openbei_truncated_inputs_total")
    response = served.embed(input=[words(0, 500), "w1", words(0, 100)])
    assert response.headers["x-truncated-inputs"] == "2"
    assert response.json()["usage"]["total_tokens"] == 502 + 3 + 102
    np.testing.assert_allclose(
        response.json()["data"][0]["embedding"], served.expected(ids(0, MAX_TOKENS - 2)), atol=1e-6
    )
    assert served.value("openbei_truncated_inputs_total") == before + 2


def test_truncation_is_as_asked_for(served: Served) -> None:
    room = MAX_TOKENS - 2
    [item] = served.embed(input=words(0, 100), truncation_direction="Left").json()["data"]
    np.testing.assert_allclose(item["embedding"], served.expected(ids(100 - room, room)), atol=1e-6)
    for given, param in ((["w1", words(0, 100)], "input[1]"), ([[5], [6] * 102], "input[1]")):
        error = served.embed(input=given, truncate=False).json()["error"]
        assert error["message"].startswith("input[1] has 102 tokens; the limit is 64")
        assert error["param"] == param


def test_null_and_unknown_fields_change_nothing(served: Served) -> None:
    plain = served.embed(input="w1").json()
    nulls = {"model": None, "user": None, "dimensions": None, "encoding_format": None}
    assert served.embed(input="w1", **nulls).json() == plain
    assert served.embed(input="w1", user="u", truncate=False, priority=[1]).json() == plain


def test_any_content_type(served: Served) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = served.client.post("/v1/embeddings", content=b'{"input": "w1"}', headers={"content-type": kind})
        assert response.status_code == 200


def test_openai_client(served: Served) -> None:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
        by_default = client.embeddings.create(input=[words(1, 2), words(3, 4)], model="x")
        np.testing.assert_allclose(by_default.data[1].embedding, served.expected(ids(3, 4)), atol=1e-6)
        assert by_default.usage.total_tokens == 10
        floats = client.embeddings.create(input="w1", model="x", encoding_format="float", dimensions=4)
        np.testing.assert_allclose(floats.data[0].embedding, served.expected(ids(1, 1), 4), atol=1e-6)
        token_ids = client.embeddings.create(input=[[5, 6], [7]], model="x")
        np.testing.assert_allclose(token_ids.data[0].embedding, served.expected([5, 6]), atol=1e-6)
        assert [model.id for model in client.models.list()] == ["small"]
        with pytest.raises(openai.UnprocessableEntityError, match="dimensions is 99; it must be 1 to 8") as caught:
            client.embeddings.create(input="w1", model="x", dimensions=99)
        assert caught.value.param == "dimensions"
        assert caught.value.code == "validation"


def test_many_clients_get_their_own(start: Start) -> None:
    served = start(FakeEngine(delay_s=0.001))

    def ask(client: int) -> None:
        for turn in range(8):
            counts = [(client * 7 + turn * 3 + i) % 40 + 1 for i in range(turn % 4 + 1)]
            data = served.embed(input=[words(client, n) for n in counts]).json()["data"]
            for item, n in zip(data, counts, strict=True):
                np.testing.assert_allclose(item["embedding"], served.expected(ids(client, n)), atol=1e-6)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(ask, range(64)))
    served.await_value("te_queue_size", 0)
