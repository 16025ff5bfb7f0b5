"""The library `rerankers`. Its text-embeddings-inference needs `--rerank-order score`."""

from typing import Any

import numpy as np
import pytest

from .conftest import Server, best, run_script

QUERY = "a query"


@pytest.fixture(scope="module")
def answers(reranker: Server, sorting: Server, given: list[str]) -> Any:
    return run_script("ask_rerankers.py", reranker=reranker.url, sorting=sorting.url, texts=given, query=QUERY)


@pytest.mark.parametrize("provider", ["cohere", "jina", "text-embeddings-inference"])
def test_rank(provider: str, answers: Any, reranker: Server, given: list[str]) -> None:
    order, scores = best(reranker, QUERY, given, len(given))
    assert [index for index, _ in answers[provider]] == order
    np.testing.assert_allclose([score for _, score in answers[provider]], scores, atol=1e-4)
