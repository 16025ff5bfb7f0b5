"""POST /v2/embed: types, prompts by input_type, and Cohere's own client."""

import base64
from typing import Any, get_args

import cohere
import numpy as np
import pytest

from openbei.api.operations.embedding import EncodingFormat
from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine
from openbei.tasks.precision import quantize

from ...small_tokenizer import ids, words
from ..conftest import MAX_TOKENS, Served, Start, small_manifest

TEXTS = ["w1 w2", "w3"]


def expected(served: Served, dimensions: int | None = None) -> np.ndarray[Any, Any]:
    return np.array([served.expected(ids(1, 2), dimensions), served.expected(ids(3, 1), dimensions)])


def test_floats_are_the_default(served: Served) -> None:
    answer = served.post("/v2/embed", texts=TEXTS, model="x", input_type="search_document")
    np.testing.assert_allclose(answer["embeddings"].pop("float"), expected(served), atol=1e-6)
    assert answer["embeddings"] == {}
    assert answer["texts"] == TEXTS
    assert answer["response_type"] == "embeddings_by_type"
    assert answer["meta"] == {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}}


def test_all_types_at_once(served: Served) -> None:
    embeddings = served.post("/v2/embed", texts=TEXTS, embedding_types=get_args(EncodingFormat))["embeddings"]
    assert set(embeddings) == set(get_args(EncodingFormat))
    for precision in ("int8", "uint8", "binary", "ubinary"):
        assert embeddings[precision] == quantize(expected(served), precision).tolist()
    decoded = [np.frombuffer(base64.b64decode(row), "<f4") for row in embeddings["base64"]]
    np.testing.assert_array_equal(decoded, np.array(embeddings["float"], np.float32))


def test_dimensions(served: Served) -> None:
    answer = served.post("/v2/embed", texts=TEXTS, output_dimension=3)
    np.testing.assert_allclose(answer["embeddings"]["float"], expected(served, 3), atol=1e-6)


@pytest.mark.parametrize(("truncate", "first"), [("END", 0), ("START", 100 - MAX_TOKENS + 2), (None, 0)])
def test_truncation(served: Served, truncate: str | None, first: int) -> None:
    answer = served.post("/v2/embed", texts=[words(0, 100)], truncate=truncate)
    np.testing.assert_allclose(answer["embeddings"]["float"], [served.expected(ids(first, MAX_TOKENS - 2))], atol=1e-6)


@pytest.mark.parametrize(("input_type", "word"), [("search_query", 900), ("search_document", 901), ("clustering", 902)])
def test_input_types_are_prompts(start: Start, input_type: str, word: int) -> None:
    prompts = Prompts({"query": "w900 ", "passage": "w901 ", "other": "w902 "}, default="other")
    served = start(FakeEngine(), manifest=small_manifest(prompts=prompts))
    [row] = served.post("/v2/embed", texts=["w1"], input_type=input_type)["embeddings"]["float"]
    np.testing.assert_allclose(row, served.expected([2, 4 + word, 5, 3]), atol=1e-6)


def test_inputs_of_text(served: Served) -> None:
    inputs = [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    answer, same = served.post("/v2/embed", inputs=inputs), served.post("/v2/embed", texts=TEXTS)
    assert answer["embeddings"] == same["embeddings"]
    assert answer["texts"] == TEXTS


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({}, 422, "texts: Object missing required field `texts`"),
        ({"texts": []}, 400, "texts is an empty list"),
        ({"texts": ["w1", ""]}, 422, "texts[1] is an empty string"),
        ({"texts": ["w1"], "images": ["data:"]}, 422, "images is set; this model reads text only"),
        ({"inputs": [{"content": [{"type": "image_url"}]}]}, 422, "inputs[0].content[0].type: Invalid enum value"),
        ({"inputs": [{"content": []}]}, 422, "inputs[0].content has 0 parts"),
        ({"texts": ["w1"], "input_type": "image"}, 422, "input_type is 'image'; it must be search_query,"),
        ({"texts": ["w1"], "embedding_types": []}, 400, "embedding_types is an empty list"),
        ({"texts": ["w1"], "embedding_types": ["float64"]}, 422, "embedding_types[0]: Invalid enum value"),
        ({"texts": ["w1"], "output_dimension": 9}, 422, "dimensions is 9; it must be 1 to 8"),
        ({"texts": ["w1"], "output_dimension": 7, "embedding_types": ["binary"]}, 422, "dimensions is 7; binary"),
        ({"texts": [words(0, 99)], "truncate": "NONE"}, 422, "texts[0] has 101 tokens; the limit is 64"),
    ],
    ids=str,
)
def test_wrong_requests(served: Served, request_: dict[str, Any], status: int, message: str) -> None:
    response = served.client.post("/v2/embed", json=request_)
    assert response.status_code == status
    assert set(response.json()) == {"message"}
    assert response.json()["message"].startswith(message)


def test_cohere_client(served: Served) -> None:
    client = cohere.ClientV2(api_key="none", base_url=served.url)
    answer = client.embed(model="x", input_type="search_query", texts=TEXTS, embedding_types=["float", "ubinary"])
    np.testing.assert_allclose(answer.embeddings.float_, expected(served), atol=1e-6)
    assert answer.embeddings.ubinary == quantize(expected(served), "ubinary").tolist()
    with pytest.raises(cohere.errors.UnprocessableEntityError, match="dimensions is 99"):
        client.embed(model="x", input_type="search_query", texts=TEXTS, output_dimension=99)
