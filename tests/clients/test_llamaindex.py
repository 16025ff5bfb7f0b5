"""LlamaIndex's classes for servers of text-embeddings-inference and OpenAI."""

import asyncio

import numpy as np
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference as TeiRerank

from tests.same_embedding import worst_cosine

from .conftest import KEY, Server, sigmoid


def test_text_embeddings_inference(embedder: Server, given: list[str]) -> None:
    model = TextEmbeddingsInference(model_name="any", base_url=embedder.url, auth_token=KEY)
    expected = embedder.vectors(given)
    assert worst_cosine(np.array(model.get_text_embedding_batch(given)), expected) > 0.99999
    assert worst_cosine(np.array([model.get_query_embedding(given[2])]), expected[2:3]) > 0.99999
    assert worst_cosine(np.array([asyncio.run(model.aget_text_embedding(given[2]))]), expected[2:3]) > 0.99999


def test_openai(embedder: Server, given: list[str]) -> None:
    model = OpenAIEmbedding(model_name="any", api_base=f"{embedder.url}/v1", api_key=KEY)
    assert worst_cosine(np.array(model.get_text_embedding_batch(given)), embedder.vectors(given)) > 0.99999


def test_rerank(reranker: Server, given: list[str]) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in given]
    ranker = TeiRerank(base_url=reranker.url, auth_token=KEY, top_n=3)
    scores = sigmoid(reranker.logits([("a query", text) for text in given])[:, 0])
    found = ranker.postprocess_nodes(nodes, query_str="a query")
    best = np.argsort(-scores, kind="stable")[:3]
    assert [node.text for node in found] == [given[i] for i in best]
    np.testing.assert_allclose([node.score for node in found], scores[best], atol=1e-4)
