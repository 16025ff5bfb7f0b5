"""POST /predict_tokens: one list for each text, by every strategy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.api.operations import entities as entities_module
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import TokenHead
from openbei.tasks.classify import softmax
from openbei.tasks.tokens import Strategy, entities

from ...small_tokenizer import ids, words
from ..conftest import Served, serving, small_manifest

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = [words(1, 6), words(9, 3), words(20, 12)]


@pytest.fixture(scope="module")
def tagger(tokenizer_path: Path) -> Iterator[Served]:
    """A token classifier."""
    manifest = small_manifest(TokenHead(num_labels=5), labels=LABELS, default_route="/predict_tokens")
    with serving(tokenizer_path, FakeEngine(5), QueueLimits(), Limits(), manifest) as one:
        yield one


def test_each_token(tagger: Served) -> None:
    [answer] = tagger.post("/predict_tokens", inputs=["w1 w2"])
    assert [token["token"] for token in answer] == ["[CLS]", "w1", "w2", "[SEP]"]
    assert [token["token_id"] for token in answer] == ids(1, 2)
    assert [(token["start"], token["end"]) for token in answer] == [(0, 0), (0, 2), (3, 5), (0, 0)]
    for token in answer:
        probabilities = softmax(tagger.logits([token["token_id"]]))
        assert token["results"] == {LABELS[int(probabilities.argmax())]: pytest.approx(probabilities.max())}


def test_raw_scores_of_each_token(tagger: Served) -> None:
    [answer] = tagger.post("/predict_tokens", inputs="w1 w2", raw_scores=True)
    for token in answer:
        assert tuple(token["results"]) == LABELS
        np.testing.assert_allclose(list(token["results"].values()), tagger.logits([token["token_id"]]), rtol=1e-5)


@pytest.mark.parametrize("inputs", [TEXTS, [[text] for text in TEXTS], [TEXTS[:2], TEXTS[2:]], [TEXTS]])
def test_one_list_for_each_text_in_order(tagger: Served, inputs: object) -> None:
    answer = tagger.post("/", inputs=inputs)
    assert [[token["token_id"] for token in tokens] for tokens in answer] == [ids(1, 6), ids(9, 3), ids(20, 12)]


@pytest.mark.parametrize("raw_scores", [False, True])
@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_strategies(tagger: Served, strategy: Strategy, raw_scores: bool) -> None:
    request: dict[str, Any] = {"inputs": TEXTS, "aggregation_strategy": strategy, "raw_scores": raw_scores}
    answer = tagger.post("/predict_tokens", **request)
    for given, text in zip(answer, tagger.tokenizer.encode_texts_for_labels(TEXTS), strict=True):
        logits = np.array([tagger.logits([token_id]) for token_id in text.sequence.token_ids])
        wanted = entities(text, logits, LABELS, strategy, raw_scores=raw_scores)
        assert [(e["token"], e["start"], e["end"]) for e in given] == [(e.token, e.start, e.end) for e in wanted]
        for one, other in zip(given, wanted, strict=True):
            assert one["results"] == pytest.approx(other.results, rel=1e-5)


def test_more_tokens_than_fit_into_an_answer(tagger: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entities_module, "MAX_ENTITY_NUMBERS", 160)
    tagger.post("/predict_tokens", inputs=["w1 w2 w3", "w4 w5 w6"])
    status, message = tagger.refused("/predict_tokens", inputs=["w1 w2 w3", "w4 w5 w6 w7"])
    assert status == 422
    assert message.startswith("inputs has 11 tokens; this server answers up to 10 in one request")


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({"inputs": []}, 400, "inputs is an empty list"),
        ({"inputs": [["w1"], []]}, 400, "inputs[1] is an empty list"),
        ({"inputs": ""}, 422, "inputs[0] is an empty string"),
        ({"inputs": ["w1", ""]}, 422, "inputs[1] is an empty string"),
        ({"inputs": [["w1"], ["w2", ""]]}, 422, "inputs[1][1] is an empty string"),
        ({"inputs": ["w1", ["w2"]]}, 422, "inputs mixes texts and lists of texts"),
        ({"inputs": [["w1"] * 1025] * 2}, 422, "batch size 2050 > maximum allowed batch size 2048"),
        ({"inputs": "w1", "aggregation_strategy": "best"}, 422, "aggregation_strategy: Invalid enum value 'best'"),
        ({"inputs": ["w1", words(0, 99)], "truncate": False}, 422, "inputs[1] has 101 tokens; the limit is 64"),
        ({"inputs": [["w1"], [words(0, 99)]], "truncate": False}, 422, "inputs[1] has 101 tokens"),
        ({"inputs": [["w1", "w2"], ["w1", words(0, 99)]], "truncate": False}, 422, "inputs[1][1] has 101 tokens"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_requests(tagger: Served, request_: dict[str, Any], status: int, message: str) -> None:
    given = tagger.refused("/predict_tokens", **request_)
    assert given[0] == status
    assert given[1].startswith(message)
