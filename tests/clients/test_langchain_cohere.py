"""langchain-cohere, which asks for embeddings at /v1/embed; skipped where it is missing: the test extra lacks it."""

import numpy as np
import pytest

from tests.same_embedding import worst_cosine

from .conftest import KEY, Server, sigmoid

langchain_cohere = pytest.importorskip("langchain_cohere", reason="needs langchain-cohere")


def test_embeddings(embedder: Server, given: list[str]) -> None:
    model = langchain_cohere.CohereEmbeddings(cohere_api_key=KEY, base_url=embedder.url, model="any")
    documents = embedder.vectors(["read: " + text for text in given])
    assert worst_cosine(np.array(model.embed_documents(given)), documents) > 0.99999
    query = embedder.vectors(["find: " + given[2]])
    assert worst_cosine(np.array([model.embed_query(given[2])]), query) > 0.99999


def test_rerank(reranker: Server, given: list[str]) -> None:
    model = langchain_cohere.CohereRerank(cohere_api_key=KEY, base_url=reranker.url, model="any", top_n=3)
    scores = sigmoid(reranker.logits([("a query", text) for text in given])[:, 0])
    found = model.rerank(documents=given, query="a query")
    assert [row["index"] for row in found] == np.argsort(-scores, kind="stable")[:3].tolist()
