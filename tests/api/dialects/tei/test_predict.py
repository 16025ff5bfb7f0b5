"""POST /predict, its grammar, and /v1/classify."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.dialects.tei.predict import GRAMMAR
from openbei.api.limits import Limits
from openbei.batch import Vectors
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import SequenceHead
from openbei.tasks.classify import sigmoid, softmax

from ....small_tokenizer import ids, words
from ...conftest import Served, Start, serving, small_manifest

LABELS = ("bad", "fair", "good")
HEAD = SequenceHead(num_labels=3)


@pytest.fixture(scope="module")
def classifier(tokenizer_path: Path) -> Iterator[Served]:
    """A classifier with three labels."""
    manifest = small_manifest(HEAD, labels=LABELS, default_route="/predict")
    with serving(tokenizer_path, FakeEngine(3), QueueLimits(), Limits(), manifest) as one:
        yield one


def check(answer: list[dict[str, Any]], numbers: Vectors) -> None:
    """Labels with their numbers, the highest first."""
    order = np.argsort(-numbers)
    assert [label["label"] for label in answer] == [LABELS[i] for i in order]
    np.testing.assert_allclose([label["score"] for label in answer], numbers[order], rtol=1e-5)


@pytest.mark.parametrize("path", ["/predict", "/classify", "/v1/classify", "/"])
def test_grammar(classifier: Served, path: str) -> None:
    one, other = softmax(classifier.logits(ids(1, 2))), softmax(classifier.logits(ids(3, 1)))
    pair = softmax(classifier.pair_logits("w1 w2", "w3"))
    check(classifier.post(path, inputs="w1 w2"), one)
    check(classifier.post(path, inputs=["w1 w2"]), one)
    check(classifier.post(path, inputs=["w1 w2", "w3"]), pair)
    for given, wanted in (
        ([["w1 w2"]], [one]),
        ([["w1 w2"], ["w3"]], [one, other]),
        ([["w1 w2", "w3"]], [pair]),
        ([["w3"], ["w1 w2", "w3"], ["w1 w2"]], [other, pair, one]),
    ):
        answer = classifier.post(path, inputs=given)
        assert len(answer) == len(wanted)
        for labels, numbers in zip(answer, wanted, strict=True):
            check(labels, numbers)


def test_raw_scores(classifier: Served) -> None:
    check(classifier.post("/predict", inputs="w1", raw_scores=True), classifier.logits(ids(1, 1)))


def test_several_labels_at_once(start: Start) -> None:
    served = start(FakeEngine(3), manifest=small_manifest(HEAD, labels=LABELS, activation="sigmoid"))
    check(served.post("/predict", inputs="w1"), sigmoid(served.logits(ids(1, 1))))


def test_one_label(start: Start) -> None:
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",), activation="sigmoid")
    served = start(FakeEngine(1), manifest=manifest)
    [label] = served.post("/predict", inputs="w1")
    assert label == {"label": "LABEL_0", "score": pytest.approx(sigmoid(served.logits(ids(1, 1)))[0])}


@pytest.mark.parametrize("path", ["/predict", "/classify", "/rerank"])
def test_the_scores_of_a_regression_are_its_numbers(path: str, start: Start) -> None:
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",), activation="none")
    served = start(FakeEngine(1), manifest=manifest)
    if path == "/rerank":
        [row] = served.post(path, query="w1 w2", texts=["w3"])
        assert row["score"] == pytest.approx(served.pair_logits("w1 w2", "w3")[0])
    else:
        [label] = served.post(path, inputs="w1")
        assert label["score"] == pytest.approx(served.logits(ids(1, 1))[0])


@pytest.mark.parametrize(
    ("inputs", "status", "message"),
    [
        (["w1", "w2", "w3"], 422, f"inputs has 3 texts; {GRAMMAR}"),
        ([["w1"], ["w1", "w2", "w3"]], 422, f"inputs[1] has 3 texts; {GRAMMAR}"),
        (["w1", ["w2"]], 422, f"inputs mixes texts and lists; {GRAMMAR}"),
        ([], 400, "inputs is or contains an empty list"),
        ([["w1"], []], 400, "inputs is or contains an empty list"),
        ("", 422, "inputs is an empty string"),
        ([["w1"], [""]], 422, "inputs[1] is an empty string"),
        ([["w1"], ["", ""]], 422, "inputs[1] is an empty string"),
        (5, 422, "inputs: Expected `str | array`, got `int`"),
        ([["w1"]] * 2049, 422, "batch size 2049 > maximum allowed batch size 2048 (send it in several requests)"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_inputs(classifier: Served, inputs: object, status: int, message: str) -> None:
    for path in ("/predict", "/classify"):
        assert classifier.refused(path, inputs=inputs) == (status, message)


def test_what_is_too_long(classifier: Served) -> None:
    status, message = classifier.refused("/predict", inputs=[["w1"], [words(0, 90)]], truncate=False)
    assert (status, message[:9]) == (422, "inputs[1]")
    response = classifier.client.post("/predict", json={"inputs": [["w1"], [words(0, 90)], ["w1", words(0, 90)]]})
    assert response.headers["x-truncated-inputs"] == "2"


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_classify(classifier: Served, path: str) -> None:
    answer = classifier.post(path, input=["w1 w2", "w3"], model="x")
    assert answer["object"] == "list"
    assert answer["model"] == "small"
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["created"] > 0
    for index, (row, token_ids) in enumerate(zip(answer["data"], [ids(1, 2), ids(3, 1)], strict=True)):
        numbers = softmax(classifier.logits(token_ids))
        best = LABELS[int(numbers.argmax())]
        assert (row["index"], row["num_classes"], row["object"]) == (index, 3, "classification")
        assert (row["label"], row["prediction"]) == (best, best)
        assert row["score"] == pytest.approx(numbers.max())
        np.testing.assert_allclose(row["probs"], numbers, rtol=1e-5)
        check(row["predictions"], numbers)
    raw = classifier.post(path, input="w3", use_activation=False)["data"]
    np.testing.assert_allclose(raw[0]["probs"], classifier.logits(ids(3, 1)), rtol=1e-5)


def test_wrong_classify_requests(classifier: Served) -> None:
    assert classifier.refused("/classify") == (422, "input: Object missing required field `input`")
    assert classifier.refused("/classify", input=[]) == (400, "input is an empty list")
    assert classifier.refused("/classify", input=["w1", ""]) == (422, "input[1] is an empty string")
