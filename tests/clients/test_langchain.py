"""LangChain's classes for servers of text-embeddings-inference and OpenAI."""

import asyncio

import numpy as np
from huggingface_hub import AsyncInferenceClient, InferenceClient
from langchain_huggingface import HuggingFaceEndpointEmbeddings
from langchain_openai import OpenAIEmbeddings

from tests.same_embedding import unit, worst_cosine

from .conftest import KEY, Server


def test_text_embeddings_inference(embedder: Server, given: list[str]) -> None:
    model = HuggingFaceEndpointEmbeddings(model="any/model", huggingfacehub_api_token=KEY)
    # It takes no address for a model any more, so it gets clients that have one.
    model.client = InferenceClient(model=embedder.url, token=KEY)
    model.async_client = AsyncInferenceClient(model=embedder.url, token=KEY)
    expected = embedder.vectors(given)
    assert worst_cosine(np.array(model.embed_documents(given)), expected) > 0.99999
    assert worst_cosine(np.array([model.embed_query(given[3])]), expected[3:4]) > 0.99999
    assert worst_cosine(np.array(asyncio.run(model.aembed_documents(given))), expected) > 0.99999


def test_openai(embedder: Server, given: list[str]) -> None:
    # Its tokens would be those of OpenAI's own models, unless it is told to send texts.
    model = OpenAIEmbeddings(base_url=f"{embedder.url}/v1", api_key=KEY, model="any", check_embedding_ctx_length=False)
    expected = embedder.vectors(given)
    assert worst_cosine(np.array(model.embed_documents(given)), expected) > 0.99999
    assert worst_cosine(np.array([model.embed_query(given[3])]), expected[3:4]) > 0.99999
    cut = OpenAIEmbeddings(
        base_url=f"{embedder.url}/v1", api_key=KEY, model="any", check_embedding_ctx_length=False, dimensions=16
    )
    assert worst_cosine(np.array(asyncio.run(cut.aembed_documents(given))), unit(expected[:, :16])) > 0.99999
