"""LiteLLM's providers for embeddings and reranking. `huggingface` needs `--rerank-order score`."""

from typing import Any

import numpy as np
import pytest

from tests.same_embedding import worst_cosine

from .conftest import Server, best, run_script

QUERY, TOP_K = "a query", 3


@pytest.fixture(scope="module")
def answers(embedder: Server, reranker: Server, sorting: Server, given: list[str]) -> Any:
    servers = {"embedder": embedder.url, "reranker": reranker.url, "sorting": sorting.url}
    return run_script("ask_litellm.py", **servers, texts=given, query=QUERY, top_k=TOP_K)


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm", "huggingface", "jina_ai", "infinity", "cohere"])
def test_embeddings(provider: str, answers: Any, embedder: Server, given: list[str]) -> None:
    """The provider `cohere` embeds documents by default, so the server adds the model's prompt for them."""
    prompt = "read: " if provider == "cohere" else ""
    expected = embedder.vectors([prompt + text for text in given])
    assert worst_cosine(np.array(answers["embed"][provider]), expected) > 0.99999


@pytest.mark.parametrize("provider", ["huggingface", "cohere", "jina_ai", "infinity", "hosted_vllm"])
def test_rerank(provider: str, answers: Any, reranker: Server, given: list[str]) -> None:
    order, scores = best(reranker, QUERY, given, TOP_K)
    ranked = answers["rerank"][provider][:TOP_K]
    assert [index for index, _ in ranked] == order
    np.testing.assert_allclose([score for _, score in ranked], scores, atol=1e-4)
