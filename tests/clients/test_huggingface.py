"""`huggingface_hub.InferenceClient` with the server's address for a model, as for text-embeddings-inference."""

import asyncio

import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.same_embedding import worst_cosine

from .conftest import KEY, Server, sigmoid, softmax


def test_feature_extraction(embedder: Server, given: list[str]) -> None:
    client = InferenceClient(model=embedder.url, token=KEY)
    expected = embedder.vectors(given)
    for text, vector in zip(given, expected, strict=True):
        assert worst_cosine(client.feature_extraction(text), vector[None]) > 0.99999
    plain = client.feature_extraction(given[0], normalize=False)
    assert abs(np.linalg.norm(plain) - 1) > 0.01
    prompted = client.feature_extraction(given[1], prompt_name="query", truncate=True, truncation_direction="left")
    assert worst_cosine(prompted, embedder.vectors([f"find: {given[1]}"])) > 0.99999
    later = asyncio.run(AsyncInferenceClient(model=embedder.url, token=KEY).feature_extraction(given[2]))
    assert worst_cosine(later, expected[2:3]) > 0.99999


def test_sentence_similarity(embedder: Server, given: list[str]) -> None:
    client = InferenceClient(model=embedder.url, token=KEY)
    vectors = embedder.vectors(given)
    similarities = client.sentence_similarity(given[0], other_sentences=given[1:])
    np.testing.assert_allclose(similarities, vectors[1:] @ vectors[0], atol=1e-5)


def test_text_classification(moods: Server, given: list[str]) -> None:
    client = InferenceClient(model=moods.url, token=KEY)
    for text, logits in zip(given, moods.logits(given), strict=True):
        found = client.text_classification(text)
        assert [element.score for element in found] == sorted((element.score for element in found), reverse=True)
        by_label = {element.label: element.score for element in found}
        np.testing.assert_allclose([by_label[name] for name in ("glad", "sad", "angry")], softmax(logits), atol=1e-4)
    [best] = client.text_classification(given[0], top_k=1, function_to_apply="sigmoid")
    assert best.score == pytest.approx(sigmoid(moods.logits(given[:1])).max(), abs=1e-4)


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_token_classification(strategy: str, tagger: Server, given: list[str]) -> None:
    """Span for span what transformers' own pipeline finds."""
    import transformers

    pipeline = transformers.pipeline(
        "token-classification", model=str(tagger.checkpoint), aggregation_strategy=strategy, device="cpu"
    )
    client = InferenceClient(model=tagger.url, token=KEY)
    num_found = 0
    for text in given:
        found = client.token_classification(text, aggregation_strategy=strategy)  # type: ignore[arg-type]
        expected = pipeline(text)
        label = "entity" if strategy == "none" else "entity_group"
        assert [(e.start, e.end, e[label]) for e in found] == [(e["start"], e["end"], e[label]) for e in expected]
        np.testing.assert_allclose([e.score for e in found], [e["score"] for e in expected], atol=1e-4)
        num_found += len(found)
    assert num_found > 10


def test_its_errors(embedder: Server, moods: Server) -> None:
    with pytest.raises(HfHubHTTPError) as caught:
        InferenceClient(model=embedder.url, token="wrong").feature_extraction("a text")
    assert caught.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError, match="424"):
        InferenceClient(model=moods.url, token=KEY).sentence_similarity("a text", other_sentences=["another"])
