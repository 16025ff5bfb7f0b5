"""Several models in one server: which of them answers, what is said of them, and that none disturbs another."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from openbei.api.app import create_app
from openbei.errors import ConfigError
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.served_model import schedule
from openbei.serving.tokenizer import Tokenizer

from ..small_tokenizer import VOCAB_SIZE, words
from .conftest import MAX_TOKENS, Served, serving_all, small_manifest
from .test_routes import MODELS

TASKS = {"embedder": "embedding", "reranker": "reranker", "tagger": "token_classifier"}


def model_of(name: str, task: str, tokenizer_path: Path, *, delay_s: float = 0.0, **fields: Any) -> LoadedModel:
    head, width, route, _ = MODELS[task]
    labels = () if task in ("embedding", "sparse") else tuple(f"LABEL_{i}" for i in range(width))
    manifest = small_manifest(head, **({"model_name": name, "labels": labels, "default_route": route} | fields))
    engine = FakeEngine(width, is_sparse=task == "sparse", delay_s=delay_s)
    return LoadedModel(manifest, Tokenizer(tokenizer_path, MAX_TOKENS, VOCAB_SIZE), engine)


@pytest.fixture(scope="module")
def served(tokenizer_path: Path) -> Iterator[Served]:
    """An embedder, a reranker and a tagger."""
    with serving_all([model_of(name, task, tokenizer_path) for name, task in TASKS.items()]) as one:
        yield one


def requests_of(name: str) -> dict[str, dict[str, Any]]:
    """Requests of each dialect to a model, by path."""
    query, texts = "w1 w2", ["w3", "w4 w5"]
    return {
        "embedder": {
            "/v1/embeddings": {"input": texts},
            "/v2/embed": {"texts": texts, "embedding_types": ["float"]},
            "/embed": {"inputs": texts},
            "/embed_all": {"inputs": texts},
            "/similarity": {"inputs": {"source_sentence": query, "sentences": texts}},
        },
        "reranker": {
            "/rerank": {"query": query, "texts": texts},
            "/v1/rerank": {"query": query, "documents": texts},
            "/v2/rerank": {"query": query, "documents": texts},
            "/predict": {"inputs": query},
            "/v1/classify": {"input": texts},
        },
        "tagger": {"/predict_tokens": {"inputs": texts}},
    }[name]


def without_ids(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return answer
    return {key: value for key, value in answer.items() if key not in ("id", "created")}


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_those_of_a_server_of_its_own(name: str, served: Served, tokenizer_path: Path) -> None:
    """With and without the model's name: only one of them supports the route."""
    with serving_all([model_of(name, TASKS[name], tokenizer_path)]) as alone:
        for path, request in requests_of(name).items():
            expected = without_ids(alone.post(path, **request))
            assert without_ids(served.post(path, **request)) == expected
            assert without_ids(served.post(path, **request, model=name)) == expected
            assert without_ids(alone.post(path, **request, model="any name")) == expected


def test_a_model_is_named_where_several_could_answer(served: Served) -> None:
    """/v1/score is for embedders and rerankers, /tokenize for all."""
    pair = {"text_1": "w1", "text_2": "w2"}
    assert served.post("/v1/score", **pair, model="reranker")["model"] == "reranker"
    assert served.post("/v1/score", **pair, model="embedder")["model"] == "embedder"
    status, message = served.refused("/v1/score", **pair)
    assert status == 422
    assert message == ("model is not set, and several models support this route (set model to embedder or reranker)")
    assert served.refused("/tokenize", inputs="w1")[0] == 422
    assert served.post("/tokenize", inputs="w1", model="tagger")[0][1]["text"] == "w1"
    assert served.refused("/v1/score", **pair, model=7) == (422, "model must be a string")


def test_an_unknown_model_is_not_found_in_each_dialect(served: Served) -> None:
    message = "there is no model 'other' (the models are embedder, reranker, tagger)"
    answer = served.client.post("/v1/embeddings", json={"input": "w1", "model": "other"})
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": message, "type": "invalid_request_error", "param": "model", "code": "model_not_found",
    }  # fmt: skip
    answer = served.client.post("/embed", json={"inputs": "w1", "model": "other"})
    assert (answer.status_code, answer.json()) == (404, {"error": message, "error_type": "Validation"})
    answer = served.client.post("/v2/embed", json={"texts": ["w1"], "model": "other"})
    assert (answer.status_code, answer.json()) == (404, {"message": message})


def test_a_model_of_another_task(served: Served) -> None:
    status, message = served.refused("/embed", inputs="w1", model="reranker")
    assert (status, message.partition(" (")[0]) == (424, "Model is not an embedding model")
    status, message = served.refused("/embed_sparse", inputs="w1")
    assert (status, message.partition(" (")[0]) == (424, "no model of this server supports this route")
    assert "embedder (embedding), reranker (reranker), tagger (token classifier)" in message


def test_the_first_model_has_the_default_route(served: Served) -> None:
    expected = served.post("/embed", inputs="w1")
    for path in ("/", "/invocations", "/production/predict"):
        assert served.post(path, inputs="w1") == expected
    for path in ("/", "/invocations"):
        entities = served.post(path, inputs=["w1 w2"], model="tagger")
        assert entities == served.post("/predict_tokens", inputs=["w1 w2"])


def test_instances_name_their_models(served: Served) -> None:
    embed, rank = {"inputs": "w1"}, {"query": "w1", "texts": ["w2"]}
    answer = served.post("/vertex", instances=[embed, {**rank, "model": "reranker"}], model="embedder")
    assert answer == {"predictions": [served.post("/embed", **embed), served.post("/rerank", **rank)]}
    assert served.refused("/vertex", instances=[embed])[0] == 422


def test_what_is_said_of_the_models(served: Served) -> None:
    client = served.client
    names = list(TASKS)
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == names
    for name in names:
        assert client.get(f"/v1/models/{name}").json()["id"] == name
        assert client.get(f"/production/sync/v1/models/{name}").json()["id"] == name
    assert client.get("/v1/models/other").status_code == 404
    info = client.get("/info").json()
    assert [model["served_model_name"] for model in info["models"]] == names
    assert {key: value for key, value in info.items() if key != "models"} == info["models"][0]
    assert client.get("/").json()["models"] == names
    assert client.get("/health").status_code == 200


def test_the_description_names_them(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    assert [(model["name"], model["task"]) for model in document["info"]["x-models"]] == [
        ("embedder", "embedding"), ("reranker", "reranker"), ("tagger", "token classifier"),
    ]  # fmt: skip
    for path, methods in document["paths"].items():
        example = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in example and methods["post"]["x-applies"]:
            response = served.client.post(path, json=example["example"])
            assert response.status_code == 200, (path, response.text)


def test_metrics_are_those_of_each_model(tokenizer_path: Path) -> None:
    with serving_all([model_of(name, task, tokenizer_path) for name, task in TASKS.items()]) as served:
        served.post("/embed", inputs=["w1", "w2"])
        served.post("/rerank", query="w1", texts=["w2"])
        served.refused("/embed", inputs="w1", model="other")
        served.refused("/predict_tokens", inputs="", model="tagger")
        served.await_value("te_request_failure", 1, model="tagger", err="validation")
        assert served.value("te_embed_success", model="embedder") == 2
        assert served.value("te_predict_success", model="reranker") == 1
        assert served.value("te_request_success", model="tagger", method="single") == 0
        assert served.value("te_request_failure", model="none", err="model_not_found") == 1
        assert served.value("te_batch_next_size_sum", model="embedder") == 2


def test_health_needs_all_models(tokenizer_path: Path) -> None:
    broken = model_of("broken", "reranker", tokenizer_path)
    assert isinstance(broken.engine, FakeEngine)
    broken.engine.failing_token_id = 0
    with serving_all([model_of("good", "embedding", tokenizer_path), broken]) as served:
        assert served.client.get("/health").status_code == 503
        broken.engine.failing_token_id = None
        assert served.client.get("/health").status_code == 200


def test_names_are_unique(tokenizer_path: Path) -> None:
    models = [model_of("same", "embedding", tokenizer_path), model_of("same", "reranker", tokenizer_path)]
    metrics = Metrics()
    with pytest.raises(ConfigError, match="two models have the name same") as error:
        create_app(schedule(models, QueueLimits(), metrics), metrics=metrics)
    assert error.value.hint == "name them with --served-model-name"


def test_a_flood_of_one_model_does_not_fill_the_queue_of_another(tokenizer_path: Path) -> None:
    """The flood gets 429 when its part of the queue is full, and the other model answers between two of its batches."""
    limits = QueueLimits(max_batch_tokens=64, max_queue_tokens=4000, max_concurrent_requests=1000)
    models = [
        model_of("flooded", "embedding", tokenizer_path, delay_s=0.02),
        model_of("calm", "reranker", tokenizer_path),
    ]
    with serving_all(models, limits) as served, ThreadPoolExecutor(8) as flood:
        texts = [words(i, 50) for i in range(60)]

        def send(_: int) -> int:
            return served.client.post("/embed", json={"inputs": texts, "model": "flooded"}).status_code

        statuses = flood.map(send, range(16))
        served.await_at_least("openbei_queue_tokens", 2000, model="flooded")
        num_batches = served.value("te_batch_next_size_count", model="flooded")
        for _ in range(5):
            served.post("/rerank", query="w1", texts=["w2"], model="calm")
        assert served.value("te_batch_next_size_count", model="flooded") - num_batches <= 5 * 3
        assert served.value("te_queue_size", model="flooded") > 0
        assert {*statuses} <= {200, 429}
