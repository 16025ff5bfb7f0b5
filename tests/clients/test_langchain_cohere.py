"""langchain-cohere, which sends embedding requests to /v1/embed."""

from typing import Any

import numpy as np
import pytest

from tests.same_embedding import worst_cosine

from .conftest import Server, best, run_script

QUERY, TOP_K = "a query", 3


@pytest.fixture(scope="module")
def answers(embedder: Server, reranker: Server, given: list[str]) -> Any:
    servers = {"embedder": embedder.url, "reranker": reranker.url}
    return run_script("ask_langchain_cohere.py", **servers, texts=given, query=QUERY, top_k=TOP_K)


def test_embeddings(answers: Any, embedder: Server, given: list[str]) -> None:
    documents = embedder.vectors(["read: " + text for text in given])
    assert worst_cosine(np.array(answers["documents"]), documents) > 0.99999
    assert worst_cosine(np.array([answers["query"]]), embedder.vectors(["find: " + QUERY])) > 0.99999


def test_rerank(answers: Any, reranker: Server, given: list[str]) -> None:
    order, scores = best(reranker, QUERY, given, TOP_K)
    assert [index for index, _ in answers["ranked"]] == order
    np.testing.assert_allclose([score for _, score in answers["ranked"]], scores, atol=1e-4)
