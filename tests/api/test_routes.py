"""Which route answers for which model: default routes, models of another task, and what is said of a model."""

from typing import Any

import pytest

from openbei.api.default_route import DEFAULT_PATHS
from openbei.api.exchange import errors
from openbei.api.routes import ROUTES
from openbei.late_interaction import LateInteraction
from openbei.prompts import ScoreTemplate
from openbei.serving.fake_engine import FakeEngine
from openbei.spec import Head, SequenceHead, TermHead, TokenEmbeddingHead, TokenHead, UnitNorm

from .conftest import FAILING_ID, Served, Start, small_manifest

SPARSE = TermHead()
MODELS: dict[str, tuple[Head | None, int, str, dict[str, Any]]] = {
    "embedding": (None, 8, "/embed", {"inputs": "w1"}),
    "sparse": (SPARSE, 8, "/embed_sparse", {"inputs": "w1"}),
    "reranker": (SequenceHead(num_labels=1), 1, "/rerank", {"query": "w1", "texts": ["w2", "w3"]}),
    "classifier": (SequenceHead(num_labels=3), 3, "/predict", {"inputs": [["w1"], ["w2", "w3"]]}),
    "token_classifier": (TokenHead(num_labels=5), 5, "/predict_tokens", {"inputs": ["w1 w2"]}),
    "late_interaction": (TokenEmbeddingHead(steps=(UnitNorm(),)), 8, "/embed_all", {"inputs": ["w1 w2"]}),
}
"""A head of each task, the columns of its rows, TEI's route for it, and a request."""

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "w1"},
    "/v1/multi-vector": {"input": "w1"},
    "/v1/embed": {"texts": ["w1"]},
    "/v2/embed": {"texts": ["w1"]},
    "/embed": {"inputs": "w1"},
    "/embed_all": {"inputs": "w1"},
    "/similarity": {"inputs": {"source_sentence": "w1", "sentences": ["w2"]}},
    "/embed_sparse": {"inputs": "w1"},
    "/rerank": {"query": "w1", "texts": ["w2"]},
    "/v1/rerank": {"query": "w1", "documents": ["w2"]},
    "/v2/rerank": {"query": "w1", "documents": ["w2"]},
    "/v1/score": {"text_1": "w1", "text_2": "w2"},
    "/predict": {"inputs": "w1"},
    "/v1/classify": {"input": "w1"},
    "/predict_tokens": {"inputs": "w1"},
}

EMBEDDING = "Model is not an embedding model"
RERANKER = "model is not a re-ranker model"
CLASSIFIER = "Model is not a classifier model"
WRONG = {
    **dict.fromkeys(
        ("/v1/embeddings", "/v1/embed", "/v2/embed", "/embed", "/similarity"),
        ({"embedding"}, EMBEDDING),
    ),
    **dict.fromkeys(("/embed_all", "/v1/multi-vector"), ({"embedding", "late_interaction"}, EMBEDDING)),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), ({"reranker", "late_interaction"}, RERANKER)),
    **dict.fromkeys(("/predict", "/v1/classify"), ({"reranker", "classifier"}, CLASSIFIER)),
    "/v1/score": ({"embedding", "reranker", "late_interaction"}, RERANKER),
    "/embed_sparse": ({"sparse"}, "Model is not an embedding model with SPLADE pooling"),
    "/predict_tokens": ({"token_classifier"}, "Model is not a token classifier model"),
}
"""The tasks that a route answers, and what it says to others."""


def start_one(start: Start, task: str, **fields: Any) -> Served:
    head, width, route, _ = MODELS[task]
    labels = () if task in ("embedding", "sparse", "late_interaction") else tuple(f"LABEL_{i}" for i in range(width))
    late = LateInteraction(query_length=8, document_length=16) if task == "late_interaction" else None
    given = {"labels": labels, "default_route": route, "late_interaction": late}
    manifest = small_manifest(head, **(given | fields))
    return start(FakeEngine(width, is_sparse=task == "sparse", failing_token_id=FAILING_ID), manifest=manifest)


@pytest.mark.parametrize("task", MODELS)
def test_each_task(start: Start, task: str) -> None:
    served = start_one(start, task)
    _, _, route, request = MODELS[task]
    answer = served.post(route, **request)
    for path in DEFAULT_PATHS:
        assert served.post(path, **request) == answer
    assert served.post("/vertex", instances=[request, request]) == {"predictions": [answer, answer]}
    for path, (tasks, words_) in WRONG.items():
        response = served.client.post(path, json=REQUESTS[path])
        if task in tasks:
            assert response.status_code == 200
        else:
            assert response.status_code == 424
            assert words_ in response.text
            told = response.text.partition("; it answers ")[2].strip('})"').partition(")")[0].split(", ")
            assert {name.replace("/classify", "/v1/classify").replace("/score", "/v1/score") for name in told} == {
                path for path, (answering, _) in WRONG.items() if task in answering
            }
            assert f"{task.replace('_', ' ')} model" in response.text
            if path.startswith("/v1") and path != "/v1/embed":
                assert response.json()["error"]["code"] == "wrong_task"


def test_two_labels_rank_only_with_a_template(start: Start) -> None:
    labels, head = ("no", "yes"), SequenceHead(num_labels=2)
    plain = start(FakeEngine(2), manifest=small_manifest(head, labels=labels))
    for path in ("/rerank", "/v1/rerank", "/score"):
        request = REQUESTS.get(path, {"text_1": "w1", "text_2": "w2"})
        status, message = plain.refused(path, **request)
        assert (status, message) == (424, f"{RERANKER} (this is a classifier model; it answers /predict, /classify)")
    template = ScoreTemplate(prefix="{query} ", suffix=" w9", positive=1)
    served = start(FakeEngine(2), manifest=small_manifest(head, labels=labels, score_template=template))
    [rank] = served.post("/rerank", **REQUESTS["/rerank"])
    assert 0 < rank["score"] < 1
    assert served.post("/vertex", instances=[REQUESTS["/rerank"]]) == {"predictions": [[rank]]}
    assert set(served.client.get("/info").json()["model_type"]) == {"reranker"}


def test_models(start: Start) -> None:
    served = start(FakeEngine(), manifest=small_manifest(model_name="org/some model"))
    model = served.client.get("/v1/models").json()["data"][0]
    assert model["id"] == "org/some model"
    for path in ("/v1/models/org/some model", "/v1/models/org%2Fsome%20model"):
        assert served.client.get(path).json() == model
    response = served.client.get("/v1/models/other")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("task", MODELS)
def test_info(start: Start, task: str) -> None:
    info = start_one(start, task).client.get("/info").json()
    assert (info["model_id"], info["served_model_name"], info["model_dtype"]) == ("a test", "small", "float32")
    assert (info["max_input_length"], info["max_batch_tokens"], info["max_client_batch_size"]) == (64, 8192, 2048)
    [(kind, about)] = info["model_type"].items()
    if pooling := {"embedding": "mean", "sparse": "splade", "late_interaction": "colbert"}.get(task):
        assert (kind, about) == ("embedding", {"pooling": pooling})
    else:
        assert kind == task
        assert about["id2label"]["0"] == "LABEL_0"
        assert about["label2id"]["LABEL_0"] == 0


def test_ping(served: Served) -> None:
    response = served.client.get("/ping")
    assert (response.status_code, response.content) == (200, b"")


def test_every_row_says_what_it_takes_and_gives() -> None:
    for row in ROUTES:
        assert row.summary
        if row.method == "POST":
            assert row.request
            assert row.response
            assert set(row.failures) <= {status for status, _ in errors.STATUSES.values()}
