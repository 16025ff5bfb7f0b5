"""Reranking as in BEI at /rerank, and as Jina, Cohere and vLLM have it at /v1/rerank and /v2/rerank."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cohere
import numpy as np
import pytest

from openbei.api.limits import Limits
from openbei.prompts import ScoreTemplate
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.queue_budget import QueueLimits
from openbei.spec import SequenceHead
from openbei.tasks.classify import sigmoid, softmax

from ....small_tokenizer import ids, words
from ...conftest import Served, serving, small_manifest

TEXTS = ["w1 w2", "w3", "w4 w5 w6", "w7 w8"]
TEMPLATE = ScoreTemplate(prefix="w900 {instruction} w901 {query} w902 ", suffix=" w903", positive=1, instruction="w904")


@pytest.fixture(scope="module")
def reranker(tokenizer_path: Path) -> Iterator[Served]:
    """A reranker with one label."""
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",))
    with serving(tokenizer_path, FakeEngine(1), QueueLimits(), Limits(), manifest) as one:
        yield one


@pytest.fixture(scope="module")
def templated(tokenizer_path: Path) -> Iterator[Served]:
    """A reranker with two labels and a template."""
    manifest = small_manifest(SequenceHead(num_labels=2), labels=("no", "yes"), score_template=TEMPLATE)
    with serving(tokenizer_path, FakeEngine(2), QueueLimits(), Limits(), manifest) as one:
        yield one


def logits_of(served: Served, query: str = "w9") -> np.ndarray[Any, Any]:
    return np.array([served.pair_logits(query, text)[0] for text in TEXTS])


def test_scores_are_in_the_order_of_texts(reranker: Served) -> None:
    answer = reranker.post("/rerank", query="w9", texts=TEXTS)
    assert [rank["index"] for rank in answer] == [0, 1, 2, 3]
    assert {tuple(rank) for rank in answer} == {("index", "score")}
    np.testing.assert_allclose([rank["score"] for rank in answer], sigmoid(logits_of(reranker)), rtol=1e-6)


def test_raw_scores_and_texts(reranker: Served) -> None:
    answer = reranker.post(
        "/rerank",
        query="w9",
        texts=TEXTS,
        raw_scores=True,
        return_text=True,
        truncate=False,
        truncation_direction="Right",
        model="x",
    )
    assert [rank["text"] for rank in answer] == TEXTS
    np.testing.assert_allclose([rank["score"] for rank in answer], logits_of(reranker), rtol=1e-6)


@pytest.mark.parametrize(("path", "has_documents"), [("/v1/rerank", True), ("/v2/rerank", False), ("/rerank", True)])
def test_documents_are_sorted(reranker: Served, path: str, has_documents: bool) -> None:
    scores = sigmoid(logits_of(reranker))
    order = np.argsort(-scores).tolist()
    documents = [TEXTS[0], {"text": TEXTS[1]}, *TEXTS[2:]]
    answer = reranker.post(path, query="w9", documents=documents, model="x", top_n=3)
    assert [item["index"] for item in answer["results"]] == order[:3]
    np.testing.assert_allclose([item["relevance_score"] for item in answer["results"]], scores[order[:3]], rtol=1e-6)
    given = [item.get("document") for item in answer["results"]]
    assert given == ([{"text": TEXTS[i]} for i in order[:3]] if has_documents else [None] * 3)
    num_tokens = sum(s.num_tokens for s in reranker.tokenizer.encode_pairs([("w9", text) for text in TEXTS]))
    assert answer["usage"] == {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
    assert answer["model"] == "small"
    assert answer["meta"] == {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    assert answer["id"]


def test_what_may_be_asked_of_documents(reranker: Served) -> None:
    def results(**fields: object) -> Any:
        return reranker.post("/v1/rerank", query="w9", documents=TEXTS, **fields)["results"]

    assert len(results(top_n=0)) == len(results(top_n=None)) == len(results(top_n=99)) == 4
    assert "document" not in results(return_documents=False)[0]
    raw = {item["index"]: item["relevance_score"] for item in results(use_activation=False)}
    np.testing.assert_allclose([raw[i] for i in range(4)], logits_of(reranker), rtol=1e-6)
    assert results(raw_scores=True) == results(use_activation=False)
    assert "document" in reranker.post("/v2/rerank", query="w9", documents=TEXTS, return_documents=True)["results"][0]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_an_empty_text_has_a_score(reranker: Served, path: str) -> None:
    """As in TEI: a batch of documents must not fail because one of them is empty."""
    field = "texts" if path == "/rerank" else "documents"
    answer = reranker.post(path, **{"query": "w9", field: ["w1", "", "w2"], "raw_scores": True})
    rows = answer if path == "/rerank" else answer["results"]
    scores = {row["index"]: row.get("score", row.get("relevance_score")) for row in rows}
    wanted = [reranker.pair_logits("w9", text)[0] for text in ("w1", "", "w2")]
    np.testing.assert_allclose([scores[i] for i in range(3)], wanted, rtol=1e-6)


def test_an_empty_text_in_a_template(templated: Served) -> None:
    first, empty = templated.post("/rerank", query="w9", texts=["w1", ""], raw_scores=True)
    read = [2, *(4 + word for word in (900, 904, 901, 9, 902, 903)), 3]
    low, high = templated.logits(read)
    assert empty["score"] == pytest.approx(float(high - low), rel=1e-5)
    assert first["score"] != empty["score"]


def test_equal_scores_keep_their_order(reranker: Served) -> None:
    answer = reranker.post("/v1/rerank", query="w9", documents=["w1"] * 5)
    assert [item["index"] for item in answer["results"]] == [0, 1, 2, 3, 4]


def test_documents_are_cut_to_their_own_limit(reranker: Served) -> None:
    short = reranker.post("/v1/rerank", query="w9", documents=["w1 w2", "w3"])["results"]
    cut = reranker.post("/v1/rerank", query="w9", documents=["w1 w2 w5 w6", "w3"], max_tokens_per_doc=2)["results"]
    assert [item["relevance_score"] for item in cut] == [item["relevance_score"] for item in short]
    assert {item["document"]["text"] for item in cut} == {"w1 w2 w5 w6", "w3"}


def test_queries_are_cut_to_their_own_limit(reranker: Served) -> None:
    wanted = reranker.post("/v1/rerank", query="w9 w8", documents=TEXTS)["results"]
    cut = reranker.post("/v1/rerank", query="w9 w8 w7 w6", documents=TEXTS, max_tokens_per_query=2)["results"]
    assert cut == wanted
    whole = reranker.post("/v1/rerank", query="w9 w8", documents=TEXTS, max_tokens_per_query=0, max_tokens_per_doc=0)
    assert whole["results"] == wanted


@pytest.mark.parametrize("instruction", [None, "w905 w906"])
def test_a_template_is_applied(templated: Served, instruction: str | None) -> None:
    given = {} if instruction is None else {"instruction": instruction}
    middle = [904] if instruction is None else [905, 906]
    rows = []
    for first, count in ((1, 2), (3, 1)):
        document = range(first, first + count)
        read = [2, *(4 + word for word in [900, *middle, 901, 9, 902, *document, 903]), 3]
        rows.append(templated.logits(read))
    logits = np.array(rows)
    answer = templated.post("/rerank", query="w9", texts=TEXTS[:2], **given)
    np.testing.assert_allclose([rank["score"] for rank in answer], softmax(logits)[:, 1], rtol=1e-5)
    raw = templated.post("/rerank", query="w9", texts=TEXTS[:2], raw_scores=True, **given)
    np.testing.assert_allclose([rank["score"] for rank in raw], logits[:, 1] - logits[:, 0], rtol=1e-5)
    sorted_ = templated.post("/v1/rerank", query="w9", documents=TEXTS[:2], **given)["results"]
    assert {i["index"]: i["relevance_score"] for i in sorted_} == {r["index"]: r["score"] for r in answer}


def test_braces_of_a_query_are_text(templated: Served) -> None:
    templated.post("/rerank", query="{instruction} {query} {x}", texts=["{query}"])


def test_predict_applies_no_template(templated: Served) -> None:
    expected = softmax(templated.logits(ids(1, 2))[None])[0]
    labels = {label["label"]: label["score"] for label in templated.post("/predict", inputs=words(1, 2))}
    np.testing.assert_allclose([labels["no"], labels["yes"]], expected, rtol=1e-5)


def test_an_instruction_without_a_place(tokenizer_path: Path) -> None:
    """A template of one label, as NVIDIA's."""
    template = ScoreTemplate(prefix="w900 {query} w901 ", suffix="", positive=0)
    manifest = small_manifest(SequenceHead(num_labels=1), labels=("LABEL_0",), score_template=template)
    with serving(tokenizer_path, FakeEngine(1), QueueLimits(), Limits(), manifest) as served:
        [rank] = served.post("/rerank", query="w9", texts=["w1"], raw_scores=True)
        assert rank["score"] == pytest.approx(float(served.logits([2, 904, 13, 905, 5, 3])[0]), rel=1e-6)
        refused = served.refused("/rerank", query="w9", texts=["w1"], instruction="w2")
    assert refused == (422, "this model's input has no place for an instruction")


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_wrong_requests(reranker: Served, path: str) -> None:
    field = "texts" if path == "/rerank" else "documents"

    def refused(**fields: object) -> tuple[int, str]:
        return reranker.refused(path, **({"query": "w9", field: TEXTS} | fields))

    assert reranker.refused(path, query="w9") == (422, f"{field}: Object missing required field `{field}`")
    assert refused(query=None)[1] == "query: Expected `str`, got `null`"
    assert refused(query="") == (422, "query is an empty string")
    assert refused(**{field: []}) == (400, f"{field} is an empty list")
    assert refused(**{field: ["w1"] * 2049})[1].startswith("batch size 2049 > maximum allowed batch size 2048")
    assert refused(instruction="w1") == (422, "this model's input has no place for an instruction")
    status, message = refused(**{field: ["w1", words(0, 80)]}, truncate=False)
    assert status == 422
    assert f"{field}[1] has" in message
    assert "the limit is 64" in message


def test_wrong_numbers(reranker: Served) -> None:
    for field, value in (("top_n", -1), ("max_tokens_per_doc", -1), ("max_tokens_per_query", -1)):
        status, message = reranker.refused("/v1/rerank", query="w9", documents=TEXTS, **{field: value})
        assert status == 422
        assert message.startswith(f"{field} is {value}")


def test_errors_have_the_shape_of_their_route(reranker: Served) -> None:
    shapes = {"/rerank": {"error", "error_type"}, "/v1/rerank": {"error", "detail"}, "/v2/rerank": {"message"}}
    for path, shape in shapes.items():
        assert set(reranker.client.post(path, json={}).json()) == shape


def test_cohere_client(reranker: Served) -> None:
    client = cohere.ClientV2(api_key="none", base_url=reranker.url)
    answer = client.rerank(model="x", query="w9", documents=TEXTS, top_n=2)
    scores = sigmoid(logits_of(reranker))
    assert [item.index for item in answer.results] == np.argsort(-scores)[:2].tolist()
    with pytest.raises(cohere.errors.UnprocessableEntityError):
        client.rerank(model="x", query="", documents=TEXTS)
