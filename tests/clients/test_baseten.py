"""`baseten-performance-client`, as it comes: it takes MessagePack and zstd, and batches by itself."""

import asyncio
from typing import Any

import numpy as np
import pytest
from baseten_performance_client import PerformanceClient, RequestProcessingPreference

from tests.same_embedding import unit, worst_cosine

from .conftest import KEY, Server, sigmoid, softmax

SMALL = RequestProcessingPreference(batch_size=3, max_concurrent_requests=4)


@pytest.fixture(params=["", "/environments/production/sync"], ids=["bare", "prefix"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_embed(prefix: str, embedder: Server, given: list[str]) -> None:
    client = PerformanceClient(base_url=embedder.url + prefix, api_key=KEY)
    expected = embedder.vectors(given)
    answer = client.embed(input=given, model="any", preference=SMALL)
    assert worst_cosine(answer.numpy(), expected) > 0.99999
    assert answer.usage.total_tokens > 0
    assert [row.index for row in answer.data] == list(range(len(given)))
    later = asyncio.run(_call(client.async_embed, input=given, model="any", preference=SMALL, dimensions=16))
    assert worst_cosine(later.numpy(), unit(expected[:, :16])) > 0.99999
    coded = client.embed(input=given, model="any", encoding_format="base64")
    assert all(isinstance(row.embedding, str) for row in coded.data)


def test_rerank(prefix: str, reranker: Server, given: list[str]) -> None:
    client = PerformanceClient(base_url=reranker.url + prefix, api_key=KEY)
    logits = reranker.logits([("a query", text) for text in given])[:, 0]
    answer = client.rerank(query="a query", texts=given, return_text=True, preference=SMALL)
    assert [(row.index, row.text) for row in answer.data] == list(enumerate(given))
    np.testing.assert_allclose([row.score for row in answer.data], sigmoid(logits), atol=1e-4)
    later = asyncio.run(_call(client.async_rerank, query="a query", texts=given, raw_scores=True, preference=SMALL))
    np.testing.assert_allclose([row.score for row in later.data], logits, atol=1e-3)
    assert [row.index for row in later.data] == list(range(len(given)))


def test_classify(prefix: str, moods: Server, given: list[str]) -> None:
    client = PerformanceClient(base_url=moods.url + prefix, api_key=KEY)
    expected = softmax(moods.logits(given))
    later = asyncio.run(_call(client.async_classify, inputs=given, preference=SMALL))
    for answer in (client.classify(inputs=given, preference=SMALL), later):
        for row, probabilities in zip(answer.data, expected, strict=True):
            assert [result.score for result in row] == sorted((result.score for result in row), reverse=True)
            by_label = {result.label: result.score for result in row}
            np.testing.assert_allclose([by_label[name] for name in ("glad", "sad", "angry")], probabilities, atol=1e-4)


def test_batch_post(prefix: str, tagger: Server, given: list[str]) -> None:
    """How named entities are asked for."""
    client = PerformanceClient(base_url=tagger.url + prefix, api_key=KEY)
    payloads = [{"inputs": [[text]], "aggregation_strategy": "max"} for text in given]
    later = asyncio.run(_call(client.async_batch_post, url_path="/predict_tokens", payloads=payloads))
    for answer in (client.batch_post(url_path="/predict_tokens", payloads=payloads), later):
        for text, [entities] in zip(given, answer.data, strict=True):
            for entity in entities:
                assert entity["token"] == text[entity["start"] : entity["end"]]
                assert set(entity["results"]) == {"PER"}


def test_its_errors(reranker: Server, embedder: Server, given: list[str]) -> None:
    import requests

    with pytest.raises(requests.HTTPError, match="tokens; the limit is 128"):  # it sends truncate: false
        PerformanceClient(base_url=reranker.url, api_key=KEY).rerank(query="a", texts=["word " * 2000])
    with pytest.raises(requests.HTTPError) as caught:
        PerformanceClient(base_url=embedder.url, api_key="wrong").embed(input=given, model="any")
    assert caught.value.args[0] in (401, 403)


async def _call(method: Any, **arguments: Any) -> Any:
    return await method(**arguments)
