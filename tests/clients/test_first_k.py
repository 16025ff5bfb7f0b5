"""Clients of text-embeddings-inference that take the first results as the best, against `--rerank-order score`.

Haystack's ranker and LiteLLM are large and no part of the test extra. Where they are missing, their tests are skipped.
"""

import httpx
import numpy as np
import pytest

from .conftest import KEY, Server, sigmoid

QUERY, K = "a query", 3


def best(server: Server, given: list[str]) -> tuple[list[int], list[float]]:
    """The first K by relevance, which are not the first K of the texts."""
    scores = sigmoid(server.logits([(QUERY, text) for text in given])[:, 0])
    order = np.argsort(-scores, kind="stable")[:K]
    assert order.tolist() != list(range(K))
    return order.tolist(), scores[order].tolist()


def test_the_option(sorting: Server, reranker: Server, given: list[str]) -> None:
    """And without it, or behind a prefix of BEI, the order of the texts."""
    order, _ = best(sorting, given)
    everywhere = list(range(len(given)))
    for server, prefix, wanted in (
        (sorting, "", order),
        (sorting, "/environments/production/sync", everywhere[:K]),
        (reranker, "", everywhere[:K]),
    ):
        answer = httpx.post(
            f"{server.url}{prefix}/rerank",
            json={"query": QUERY, "texts": given},
            headers={"authorization": f"Bearer {KEY}"},
        )
        assert [row["index"] for row in answer.json()][:K] == wanted


def test_haystack(sorting: Server, given: list[str]) -> None:
    module = pytest.importorskip(
        "haystack_integrations.components.rankers.huggingface_api", reason="needs huggingface-api-haystack"
    )
    from haystack import Document
    from haystack.utils import Secret

    ranker = module.HuggingFaceTEIRanker(url=sorting.url, top_k=K, token=Secret.from_token(KEY))
    order, scores = best(sorting, given)
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in given])["documents"]
    assert [document.content for document in found] == [given[i] for i in order]
    np.testing.assert_allclose([document.score for document in found], scores, atol=1e-4)


def test_litellm(sorting: Server, given: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network for prices
    litellm = pytest.importorskip("litellm", reason="needs litellm")
    order, scores = best(sorting, given)
    answer = litellm.rerank(
        model="huggingface/any", query=QUERY, documents=given, top_n=K, api_base=sorting.url, api_key=KEY
    )
    assert [row["index"] for row in answer.results][:K] == order
    np.testing.assert_allclose([row["relevance_score"] for row in answer.results][:K], scores, atol=1e-4)
