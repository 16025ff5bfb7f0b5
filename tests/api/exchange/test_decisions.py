"""The table of request fields: it agrees with the structs, and what it refuses is refused by name."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from openbei.api.dialects import decisions
from openbei.api.dialects.decisions import BY_ROUTE
from openbei.api.exchange.decisions import Decision, Decisions
from openbei.api.pages.bounds import kinds_of
from openbei.api.routes import ROUTES
from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine

from ...small_tokenizer import ids
from ..conftest import Served, Start, small_manifest
from ..test_routes import MODELS, REQUESTS, WRONG, start_one

GIVEN = {**REQUESTS, "/tokenize": {"inputs": "w1"}, "/decode": {"ids": [1]}}
ALIASES = {"/embeddings": "/v1/embeddings", "/score": "/v1/score", "/classify": "/v1/classify"}


def merged(table: Decisions) -> dict[str, Decision]:
    return {name: decision for dialect in table.values() for name, decision in dialect.items()}


def with_effect(table: Decisions, effect: str) -> set[str]:
    return {name for name, decision in merged(table).items() if decision.effect == effect}


def test_every_route_has_decisions() -> None:
    assert set(BY_ROUTE) == {row.path for row in ROUTES if row.method == "POST"}


@pytest.mark.parametrize("row", [row for row in ROUTES if row.method == "POST"], ids=lambda row: row.path)
def test_the_table_agrees_with_the_structs(row: Any) -> None:
    kinds = list(kinds_of(row.request))
    if row.path in ("/rerank", "/classify", "/v1/classify"):  # the second shape is that of another route
        kinds = kinds[:1]
    fields = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)}
    table = BY_ROUTE[row.path]
    assert with_effect(table, "honoured") <= fields
    assert fields <= with_effect(table, "honoured") | with_effect(table, "none")
    assert all(decision.why for decision in merged(table).values() if decision.effect != "honoured")


def test_dialects_do_not_contradict_each_other() -> None:
    for table in BY_ROUTE.values():
        for name in merged(table):
            assert len({dialect[name].effect for dialect in table.values() if name in dialect}) == 1, name


@pytest.mark.parametrize("task", MODELS)
def test_what_is_refused_is_named(start: Start, task: str) -> None:
    """A value that asks for something else is refused, with what to do; one that asks for what is done is not."""
    served = start_one(start, task)
    num_refused = 0
    for path, table in BY_ROUTE.items():
        given = GIVEN.get(ALIASES.get(path, path))
        if given is None or task not in WRONG.get(ALIASES.get(path, path), ({task}, ""))[0]:
            continue
        for name, decision in merged(table).items():
            if decision.effect == "none":
                value = {"priority": 7, "mm_processor_kwargs": {"a": 1}, "options": {"use_cache": False}}.get(name, "x")
                assert served.client.post(path, json={**given, name: value}).status_code == 200, (path, name)
            if decision.effect != "refused":
                continue
            for value in decision.unless:
                response = served.client.post(path, json={**given, name: value})
                assert response.status_code == 200, (path, name, value, response.text)
            status, message = served.refused(path, **given, **{name: {"a": "value that nothing allows"}})
            assert status == 422, (path, name)
            assert message.startswith(f"{name} is "), (path, name, message)
            num_refused += 1
    assert num_refused > 0


@pytest.mark.parametrize(
    ("task", "parameters"),
    [("classifier", decisions.TEXT_PARAMETERS), ("token_classifier", decisions.TOKEN_PARAMETERS)],
)
def test_parameters_of_pipelines(start: Start, task: str, parameters: Decisions) -> None:
    served = start_one(start, task)
    for name, decision in merged(parameters).items():
        if decision.effect == "refused":
            status, message = served.refused("/", inputs="w1", parameters={name: ["a", "b"]})
            assert (status, message.startswith(f'parameters.{name} is ["a","b"]')) == (422, True), message
            for value in decision.unless:
                assert served.client.post("/", json={"inputs": "w1", "parameters": {name: value}}).status_code == 200


def test_unknown_fields_are_ignored(served: Served) -> None:
    for path in ("/v1/embeddings", "/v1/embed", "/embed", "/similarity"):
        served.post(path, **GIVEN[path], surely_unknown={"a": [1, 2]})


def test_long_values_are_not_repeated(served: Served) -> None:
    status, message = served.refused("/v1/embeddings", input="w1", messages=["x" * 5000])
    assert (status, message[:15]) == (422, "messages is set")
    assert len(message) < 300


PROMPTED = Prompts({"query": "w100 ", "document": "w200 ", "clustering": "w300 ", "STS": "w400 "})


@pytest.mark.parametrize(
    ("fields", "before"),
    [
        ({"task": "retrieval.query"}, 100),
        ({"task": "retrieval.passage"}, 200),
        ({"task": "separation"}, 300),
        ({"task": "text-matching"}, 400),
        ({"task": "classification"}, None),
        ({"input_type": "query"}, 100),
        ({"input_type": "passage"}, 200),
        ({"input_type": "search_document"}, 200),
        ({"prompt_name": "query"}, 100),
        ({"prompt_name": "query", "task": None}, 100),
        ({}, None),
    ],
    ids=str,
)
def test_what_embeddings_are_for(start: Start, fields: dict[str, Any], before: int | None) -> None:
    served = start(FakeEngine(), manifest=small_manifest(prompts=PROMPTED))
    [row] = served.post("/v1/embeddings", input="w1", **fields)["data"]
    read = [2, *([] if before is None else [4 + before]), 5, 3]
    np.testing.assert_allclose(row["embedding"], served.expected(read), atol=1e-6)


def test_two_prompts_cannot_be(start: Start) -> None:
    served = start(FakeEngine(), manifest=small_manifest(prompts=PROMPTED))
    refused = served.refused("/v1/embeddings", input="w1", task="retrieval.query", prompt_name="query")
    assert refused == (422, "prompt_name and task are set; each selects a prompt (send one)")
    assert served.refused("/v1/embeddings", input="w1", task="poetry")[1].startswith("task is 'poetry'; it must be")
    assert served.refused("/v1/embeddings", input=[1, 2], task="retrieval.query")[1].startswith("task applies to texts")


@pytest.mark.parametrize("field", ["normalize", "normalized", "use_activation"])
def test_lengths_may_stay_as_they_are(served: Served, field: str) -> None:
    [row] = served.post("/v1/embeddings", input="w1", **{field: False})["data"]
    np.testing.assert_allclose(row["embedding"], served.logits(ids(1, 1)), rtol=1e-6)
    [row] = served.post("/v1/embeddings", input="w1", **{field: True})["data"]
    np.testing.assert_allclose(row["embedding"], served.expected(ids(1, 1)), atol=1e-6)


def test_jina_encodings(served: Served) -> None:
    def encoded(**fields: Any) -> Any:
        return served.post("/v1/embeddings", input="w1", **fields)["data"][0]["embedding"]

    assert encoded(embedding_type="base64") == encoded(encoding_format="base64")
    assert encoded(embedding_type=["ubinary"]) == encoded(encoding_format="ubinary")
    assert encoded(embedding_type=[]) == encoded()
    assert encoded(embedding_type="int8", encoding_format="int8") == encoded(encoding_format="int8")
    status, message = served.refused("/v1/embeddings", input="w1", embedding_type=["float", "binary"])
    assert (status, message[:61]) == (422, "encoding_format and embedding_type request binary, float; a r")


def test_an_error_of_a_parameter_names_it(start: Start) -> None:
    served = start_one(start, "classifier")
    response = served.client.post("/", content=json.dumps({"inputs": "w1", "parameters": [1]}).encode())
    assert response.status_code == 422
    assert "parameters: Expected `object`" in response.text
