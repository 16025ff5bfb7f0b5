"""Haystack's embedders for OpenAI and text-embeddings-inference, and its ranker."""

from typing import Any

import numpy as np
import pytest

from tests.same_embedding import worst_cosine, worst_direction

from .conftest import Server, best, run_script

QUERY, TOP_K = "a query", 3


@pytest.fixture(scope="module")
def answers(embedder: Server, sorting: Server, given: list[str]) -> Any:
    return run_script(
        "ask_haystack.py", embedder=embedder.url, sorting=sorting.url, texts=given, query=QUERY, top_k=TOP_K
    )


def test_openai(answers: Any, embedder: Server, given: list[str]) -> None:
    assert worst_cosine(np.array(answers["openai documents"]), embedder.vectors(given)) > 0.99999
    assert worst_cosine(np.array([answers["openai text"]]), embedder.vectors([QUERY])) > 0.99999


def test_text_embeddings_inference(answers: Any, embedder: Server, given: list[str]) -> None:
    """By default it requests vectors that are not normalized."""
    assert worst_direction(np.array(answers["tei documents"]), embedder.vectors(given)) > 0.99999
    assert worst_direction(np.array([answers["tei text"]]), embedder.vectors([QUERY])) > 0.99999


def test_ranker(answers: Any, sorting: Server, given: list[str]) -> None:
    order, scores = best(sorting, QUERY, given, TOP_K)
    assert [index for index, _ in answers["ranked"]] == order
    np.testing.assert_allclose([score for _, score in answers["ranked"]], scores, atol=1e-4)
