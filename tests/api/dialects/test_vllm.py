"""POST /score: pairs, by rerankers and by embedding models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.prompts import ScoreTemplate
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import SequenceHead
from openbei.tasks.classify import sigmoid

from ...small_tokenizer import ids, words
from ..conftest import Served, Start, serving, small_manifest

NAMES = [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")]
A, B, C = "w1 w2", "w3", "w4 w5"


@pytest.fixture(scope="module")
def reranker(tokenizer_path: Path) -> Iterator[Served]:
    """A reranker with one label."""
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",))
    with serving(tokenizer_path, FakeEngine(1), QueueLimits(), Limits(), manifest) as one:
        yield one


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("left", "right", "pairs"),
    [
        (A, B, [(A, B)]),
        (A, [B, C], [(A, B), (A, C)]),
        ([A], [B, C], [(A, B), (A, C)]),
        ([A, B], [B, C], [(A, B), (B, C)]),
    ],
    ids=["one to one", "one to many", "a list of one to many", "many to many"],
)
def test_rerankers_score_pairs(
    reranker: Served, path: str, names: tuple[str, str], left: object, right: object, pairs: list[tuple[str, str]]
) -> None:
    answer = reranker.post(path, **{names[0]: left, names[1]: right}, model="x")
    logits = np.array([reranker.pair_logits(*pair)[0] for pair in pairs])
    assert [(item["index"], item["object"]) for item in answer["data"]] == [(i, "score") for i in range(len(pairs))]
    np.testing.assert_allclose([item["score"] for item in answer["data"]], sigmoid(logits), rtol=1e-6)
    assert answer["object"] == "list"
    assert answer["model"] == "small"
    assert answer["usage"]["total_tokens"] == sum(s.num_tokens for s in reranker.tokenizer.encode_pairs(pairs))
    raw = reranker.post(path, **{names[0]: left, names[1]: right}, use_activation=False)
    np.testing.assert_allclose([item["score"] for item in raw["data"]], logits, rtol=1e-6)


def test_embedding_models_give_cosines(served: Served) -> None:
    answer = served.post("/v1/score", text_1=A, text_2=[A, B])
    a, b = served.expected(ids(1, 2)), served.expected(ids(3, 1))
    np.testing.assert_allclose([item["score"] for item in answer["data"]], [1, a @ b], atol=1e-6)
    assert answer["usage"]["total_tokens"] == 4 + 4 + 3


def test_one_side_of_a_pair_may_be_empty(reranker: Served, served: Served) -> None:
    answer = reranker.post("/score", text_1=["", "w1"], text_2=["w2", ""], raw_scores=True)
    wanted = [reranker.pair_logits("", "w2")[0], reranker.pair_logits("w1", "")[0]]
    np.testing.assert_allclose([item["score"] for item in answer["data"]], wanted, rtol=1e-6)
    assert served.refused("/score", text_1="w1", text_2=["w1", ""]) == (422, "text_2[1] is an empty string")


def test_each_side_has_a_limit_of_its_own(reranker: Served, served: Served) -> None:
    for one in (reranker, served):
        cut = one.post(
            "/score", queries="w1 w2 w3", documents=["w4 w5", "w6"], max_tokens_per_query=2, max_tokens_per_doc=1
        )
        assert cut["data"] == one.post("/score", queries="w1 w2", documents=["w4", "w6"])["data"]
        assert one.refused("/score", text_1="w1", text_2="w2", max_tokens_per_doc=-2) == (
            422,
            "max_tokens_per_doc is -2; it must be 0 (no limit) or more",
        )


def test_templates_with_many_queries(start: Start) -> None:
    template = ScoreTemplate(prefix="w900 {query} w901 ", suffix=" w902", positive=1)
    manifest = small_manifest(SequenceHead(num_labels=2), labels=("no", "yes"), score_template=template)
    served = start(FakeEngine(2), manifest=manifest)
    answer = served.post("/score", queries=["w1", "w2"], documents=["w3", "w4"], raw_scores=True)
    rows = [served.logits([2, *(4 + w for w in (900, query, 901, query + 2, 902)), 3]) for query in (1, 2)]
    np.testing.assert_allclose([i["score"] for i in answer["data"]], [row[1] - row[0] for row in rows], rtol=1e-5)
    status, message = served.refused("/score", queries=["w1", "w2"], documents=["w3", words(0, 80)], truncate=False)
    assert (status, message[:12]) == (422, "documents[1]")


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        ({}, 422, "text_1: Object missing required field `text_1`"),
        ({"queries": "w1"}, 422, "documents: Object missing required field `documents`"),
        ({"text_1": ["w1", "w2"], "text_2": "w3"}, 422, "text_1 has 2 texts and text_2 has 1"),
        ({"text_1": ["w1", "w2"], "text_2": ["w3"] * 3}, 422, "text_1 has 2 texts and text_2 has 3"),
        ({"text_1": [], "text_2": []}, 400, "text_1 is an empty list"),
        ({"text_1": ["w1", ""], "text_2": ["w1", ""]}, 422, "text_"),
        (
            {"text_1": "w1", "text_2": "w2", "instruction": "w3"},
            422,
            "this model's input has no place for an instruction",
        ),
    ],
    ids=str,
)
def test_wrong_requests(reranker: Served, served: Served, request_: dict[str, Any], status: int, message: str) -> None:
    for one in (reranker, served):
        given = one.refused("/score", **request_)
        assert given[0] == status
        assert given[1].startswith(message)
