"""POST /v1/embed: Cohere's older embeddings, as its v1 clients, langchain-cohere and milvus-model ask for them."""

from typing import Any

import cohere
import numpy as np
import pytest

from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine

from ...small_tokenizer import ids, words
from ..conftest import Served, Start, small_manifest

TEXTS = ["w1 w2", "w3"]


def test_plain_lists(served: Served) -> None:
    answer = served.post("/v1/embed", texts=TEXTS, model="x", input_type="search_document")
    assert set(answer) == {"id", "texts", "embeddings", "meta", "response_type"}
    assert answer["texts"] == TEXTS
    assert answer["response_type"] == "embeddings_floats"
    assert answer["meta"] == {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 7}}
    wanted = [served.expected(ids(1, 2)), served.expected(ids(3, 1))]
    np.testing.assert_allclose(answer["embeddings"], wanted, atol=1e-6)


def test_by_type(served: Served) -> None:
    answer = served.post("/v1/embed", texts=TEXTS, embedding_types=["float", "int8", "ubinary"])
    assert answer["response_type"] == "embeddings_by_type"
    newer = served.post("/v2/embed", texts=TEXTS, embedding_types=["float", "int8", "ubinary"])
    assert answer["embeddings"] == newer["embeddings"]
    assert set(answer["embeddings"]) == {"float", "int8", "ubinary"}


def test_input_types_choose_prompts(start: Start) -> None:
    prompts = Prompts({"query": "w100 ", "document": "w200 "})
    served = start(FakeEngine(), manifest=small_manifest(prompts=prompts))
    for input_type, first in (("search_query", 100), ("search_document", 200)):
        [vector] = served.post("/v1/embed", texts=["w1"], input_type=input_type)["embeddings"]
        np.testing.assert_allclose(vector, served.expected([2, 4 + first, 5, 3]), atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, 422, "texts: Object missing required field `texts`"),
        ({"texts": []}, 400, "texts is an empty list"),
        ({"texts": ["w1", ""]}, 422, "texts[1] is an empty string"),
        ({"texts": ["w1"], "embedding_types": []}, 400, "embedding_types is an empty list"),
        ({"texts": ["w1"], "embedding_types": ["int4"]}, 422, "embedding_types[0]: "),
        ({"texts": ["w1"], "input_type": "poetry"}, 422, "input_type is 'poetry'"),
        ({"texts": [words(0, 80)], "truncate": "NONE"}, 422, "texts[0] has 82 tokens; the limit is 64"),
        ({"images": ["data:"]}, 422, "images is set; this model reads text only"),
        ({"inputs": [{"content": []}]}, 422, 'inputs is [{"content":[]}], which this server does not do'),
    ],
    ids=str,
)
def test_wrong_requests(served: Served, fields: dict[str, Any], status: int, message: str) -> None:
    response = served.client.post("/v1/embed", json=fields)
    assert response.status_code == status
    assert set(response.json()) == {"message"}
    assert response.json()["message"].startswith(message)


def test_client(served: Served) -> None:
    client = cohere.Client(api_key="none", base_url=served.url)
    wanted = [served.expected(ids(1, 2)), served.expected(ids(3, 1))]
    plain = client.embed(texts=TEXTS, model="x", input_type="search_query")
    np.testing.assert_allclose(plain.embeddings, wanted, atol=1e-6)
    typed = client.embed(texts=TEXTS, model="x", input_type="search_query", embedding_types=["float", "int8"])
    np.testing.assert_allclose(typed.embeddings.float_, wanted, atol=1e-6)
    assert len(typed.embeddings.int8) == 2
    many = client.embed(texts=[f"w{i}" for i in range(200)], model="x", input_type="search_document")
    assert len(many.embeddings) == 200  # in batches of its own
    with pytest.raises(cohere.errors.UnprocessableEntityError):
        client.embed(texts=[words(0, 80)], model="x", input_type="search_query", truncate="NONE")
