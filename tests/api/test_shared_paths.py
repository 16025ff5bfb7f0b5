"""POST /: the default route, and what the Hugging Face client sends there."""

import numpy as np
import pytest

from openbei.serving.fake_engine import FakeEngine
from openbei.spec import SequenceHead, TokenHead

from ..small_tokenizer import ids, words
from .conftest import Served, Start, small_manifest

LABELS = ("O", "B-PER", "I-PER")


@pytest.fixture
def moods(start: Start) -> Served:
    manifest = small_manifest(SequenceHead(num_labels=3), labels=("a", "b", "c"), default_route="/predict")
    return start(FakeEngine(3), manifest=manifest)


@pytest.fixture
def tagger(start: Start) -> Served:
    manifest = small_manifest(TokenHead(num_labels=3), labels=LABELS, default_route="/predict_tokens")
    return start(FakeEngine(3), manifest=manifest)


def test_embedding_models_read_both_shapes(served: Served) -> None:
    expected = served.expected(ids(1, 3))
    [row] = served.post("/", input=words(1, 3))["data"]
    np.testing.assert_allclose(row["embedding"], expected, atol=1e-6)
    np.testing.assert_allclose(served.post("/", inputs=[words(1, 3)]), [expected], atol=1e-6)
    compared = {"source_sentence": words(1, 3), "sentences": [words(1, 3), words(5, 2)]}
    cosines = served.post("/", inputs=compared, parameters={})
    np.testing.assert_allclose(cosines, [1, expected @ served.expected(ids(5, 2))], atol=1e-6)


def test_texts_with_parameters(moods: Served) -> None:
    plain = moods.post("/", inputs=words(1, 3))
    assert moods.post("/", inputs=words(1, 3), parameters={}) == [plain]
    assert moods.post("/", inputs=[words(1, 3), "w9"], parameters={"top_k": 1}) == [
        plain[:1],
        moods.post("/", inputs="w9")[:1],
    ]
    [raw] = moods.post("/", inputs=words(1, 3), parameters={"function_to_apply": "none"})
    by_label = {label["label"]: label["score"] for label in raw}
    logits = moods.logits(ids(1, 3))
    np.testing.assert_allclose([by_label[name] for name in "abc"], logits, atol=1e-6)
    [each] = moods.post("/", inputs=words(1, 3), parameters={"function_to_apply": "sigmoid"})
    assert each[0]["score"] == pytest.approx(1 / (1 + np.exp(-logits.max())), abs=1e-6)


def test_tokens_with_parameters(tagger: Served) -> None:
    text = words(0, 30)
    grouped = tagger.post("/", inputs=text, parameters={})
    assert grouped == tagger.post("/", inputs=text, parameters={"aggregation_strategy": "simple"})
    own = tagger.post("/predict_tokens", inputs=text, aggregation_strategy="simple")[0]
    assert [(e["start"], e["end"], {e["entity_group"]: e["score"]}) for e in grouped] == [
        (e["start"], e["end"], e["results"]) for e in own
    ]
    single = tagger.post("/", inputs=[text, "w1"], parameters={"aggregation_strategy": "none"})
    assert len(single) == 2
    assert {token["entity"] for token in single[0]} == {"B-PER", "I-PER"}
    every = tagger.post("/", inputs=text, parameters={"aggregation_strategy": "none", "ignore_labels": []})
    assert [token["word"] for token in every] == text.split()


def test_errors_have_the_shape_of_the_default_route(moods: Served, served: Served) -> None:
    assert moods.refused("/", inputs="", parameters={}) == (422, "inputs is an empty string")
    status, message = moods.refused("/", inputs="w1", parameters={"top_k": -1})
    assert (status, message) == (422, "top_k is -1; it must be at least 1")
    assert served.client.post("/", content=b"[]").json()["error"]["code"] == "validation"


def test_the_npm_client_leaves_parameters_out(moods: Served, tagger: Served) -> None:
    """It reads the answers of pipelines all the same, so its name stands for them."""
    npm = {"user-agent": "@huggingface/inference/4.13.30 Node.js/20"}
    for one in (moods, tagger):
        answer = one.client.post("/", json={"inputs": words(1, 9)}, headers=npm).json()
        assert answer == one.post("/", inputs=words(1, 9), parameters={})
        assert answer != one.post("/", inputs=words(1, 9))
