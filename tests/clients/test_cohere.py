"""The `cohere` client, both of its versions."""

import asyncio

import cohere
import numpy as np
import pytest
from cohere.core import ApiError

from tests.same_embedding import worst_cosine, worst_direction

from .conftest import KEY, Server, sigmoid


def test_embed(embedder: Server, given: list[str]) -> None:
    client = cohere.ClientV2(api_key=KEY, base_url=embedder.url)
    for input_type, prompt in (("search_query", "find: "), ("search_document", "read: "), ("clustering", "")):
        answer = client.embed(model="any", texts=given, input_type=input_type, embedding_types=["float"])
        expected = embedder.vectors([prompt + text for text in given])
        assert worst_cosine(np.array(answer.embeddings.float_), expected) > 0.99999
        assert answer.texts == given


def test_embed_v1(embedder: Server, given: list[str]) -> None:
    client = cohere.Client(api_key=KEY, base_url=embedder.url)
    answer = client.embed(model="any", texts=given, input_type="search_query")
    expected = embedder.vectors(["find: " + text for text in given])
    assert worst_cosine(np.array(answer.embeddings), expected) > 0.99999
    typed = client.embed(model="any", texts=given, input_type="search_query", embedding_types=["float", "ubinary"])
    assert worst_cosine(np.array(typed.embeddings.float_), expected) > 0.99999
    assert len(typed.embeddings.ubinary[0]) * 8 == expected.shape[1]


def test_embedding_types(embedder: Server, given: list[str]) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    client = cohere.ClientV2(api_key=KEY, base_url=embedder.url)
    answer = client.embed(
        model="any",
        texts=given,
        input_type="classification",
        embedding_types=["float", "int8", "uint8", "binary", "ubinary"],
        output_dimension=32,
    ).embeddings
    floats = np.array(answer.float_, np.float32)
    assert floats.shape == (len(given), 32)
    assert worst_direction(np.array(answer.int8, np.float32), floats) > 0.999
    assert (np.array(answer.uint8) - 128 == np.array(answer.int8)).all()
    for precision in ("binary", "ubinary"):
        judged = quantize_embeddings(floats, precision=precision)
        assert (np.array(getattr(answer, precision)) == judged).all()


@pytest.mark.parametrize("version", [cohere.Client, cohere.ClientV2])
def test_rerank(version: type, reranker: Server, given: list[str]) -> None:
    client = version(api_key=KEY, base_url=reranker.url)
    scores = sigmoid(reranker.logits([("a query", text) for text in given])[:, 0])
    answer = client.rerank(model="any", query="a query", documents=given, top_n=4)
    order = np.argsort(-scores, kind="stable")[:4]
    assert [row.index for row in answer.results] == order.tolist()
    np.testing.assert_allclose([row.relevance_score for row in answer.results], scores[order], atol=1e-4)


def test_async(reranker: Server, given: list[str]) -> None:
    async def ask() -> int:
        async with cohere.AsyncClientV2(api_key=KEY, base_url=reranker.url) as client:
            return len((await client.rerank(model="any", query="a", documents=given)).results)

    assert asyncio.run(ask()) == len(given)


def test_its_errors(reranker: Server, given: list[str]) -> None:
    with pytest.raises(ApiError) as caught:
        cohere.ClientV2(api_key="wrong", base_url=reranker.url).rerank(model="any", query="a", documents=given)
    assert caught.value.status_code == 401
    with pytest.raises(ApiError) as caught:
        cohere.ClientV2(api_key=KEY, base_url=reranker.url).embed(model="any", texts=given, input_type="clustering")
    assert caught.value.status_code == 424
    assert "not an embedding model" in str(caught.value.body)
