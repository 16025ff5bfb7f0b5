"""The `openai` client, as it comes."""

import asyncio

import numpy as np
import openai
import pytest

from tests.same_embedding import unit, worst_cosine

from .conftest import KEY, Server


@pytest.fixture
def client(embedder: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{embedder.url}/v1", api_key=KEY, max_retries=0)


def test_base64_is_what_it_asks_for_by_default(client: openai.OpenAI, embedder: Server, given: list[str]) -> None:
    answer = client.embeddings.create(model="any", input=given)
    assert worst_cosine(np.array([row.embedding for row in answer.data]), embedder.vectors(given)) > 0.99999
    assert [row.index for row in answer.data] == list(range(len(given)))
    assert answer.model == embedder.name
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 2 * len(given)


def test_floats(client: openai.OpenAI, given: list[str]) -> None:
    by_default = client.embeddings.create(model="any", input=given)
    floats = client.embeddings.create(model="any", input=given, encoding_format="float")
    for one, other in zip(by_default.data, floats.data, strict=True):
        np.testing.assert_array_equal(np.float32(one.embedding), np.float32(other.embedding))


def test_dimensions_and_token_ids(client: openai.OpenAI, embedder: Server) -> None:
    [cut] = client.embeddings.create(model="any", input="a text", dimensions=16).data
    expected = unit(embedder.vectors(["a text"])[:, :16])
    assert len(cut.embedding) == 16
    assert abs(np.linalg.norm(cut.embedding) - 1) < 1e-5
    assert worst_cosine(np.array([cut.embedding]), expected) > 0.99999
    both = client.embeddings.create(model="any", input=[[5, 6, 7], [8]])
    assert both.usage.total_tokens == 4


def test_async(embedder: Server, given: list[str]) -> None:
    async def ask() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=f"{embedder.url}/v1", api_key=KEY) as client:
            answers = await asyncio.gather(*(client.embeddings.create(model="any", input=text) for text in given * 5))
            return [answer.data[0].embedding for answer in answers]

    assert worst_cosine(np.array(asyncio.run(ask())), np.tile(embedder.vectors(given), (5, 1))) > 0.99999


def test_models(client: openai.OpenAI, embedder: Server) -> None:
    assert [model.id for model in client.models.list()] == [embedder.name]
    assert client.models.retrieve(embedder.name).id == embedder.name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def test_errors_are_its_own(client: openai.OpenAI, embedder: Server, reranker: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="empty list"):
        client.embeddings.create(model="any", input=[])
    with pytest.raises(openai.UnprocessableEntityError, match="dimensions is 65; it must be 1 to 64") as caught:
        client.embeddings.create(model="any", input="a", dimensions=65)
    assert caught.value.param == "dimensions"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{embedder.url}/v1", api_key="wrong").embeddings.create(model="any", input="a")
    other = openai.OpenAI(base_url=f"{reranker.url}/v1", api_key=KEY, max_retries=0)
    with pytest.raises(openai.APIStatusError, match="not an embedding model") as failed:
        other.embeddings.create(model="any", input="a")
    assert failed.value.status_code == 424
    with pytest.raises(openai.APITimeoutError):
        client.embeddings.create(model="any", input=["a " * 5000] * 60, timeout=0.001)


@pytest.mark.parametrize("prefix", ["/sync", "/environments/production/sync"])
def test_base_urls_of_bei(prefix: str, embedder: Server, given: list[str]) -> None:
    client = openai.OpenAI(base_url=f"{embedder.url}{prefix}/v1", api_key=KEY)
    answer = client.embeddings.create(model="any", input=given)
    assert worst_cosine(np.array([row.embedding for row in answer.data]), embedder.vectors(given)) > 0.99999
