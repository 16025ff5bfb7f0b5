"""The OpenAPI document: what it says of requests, answers and errors is what the server does."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from openbei.api.default_route import DEFAULT_PATHS
from openbei.api.limits import Limits
from openbei.api.routes import ROUTES
from openbei.prompts import Prompts
from openbei.serving.fake_engine import FakeEngine

from ..conftest import Served, Start, small_manifest
from ..test_routes import MODELS, REQUESTS, WRONG, start_one

SHAPES = {"openai": "FailureBody", "tei": "TeiFailure", "cohere": "CohereFailure"}


def document_of(served: Served) -> dict[str, Any]:
    document: dict[str, Any] = served.client.get("/openapi.json").json()
    return document


def validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def accepts(document: dict[str, Any], path: str, body: object) -> bool:
    """Whether a body is one that the document says the route takes."""
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return bool(validator(document, content["schema"]).is_valid(body))


@pytest.mark.parametrize("path", ["/openapi.json", "/api-doc/openapi.json"])
def test_every_row_is_described(served: Served, path: str) -> None:
    document = served.client.get(path).json()
    assert document["openapi"].startswith("3.1")
    paths = {(row.path, row.method.lower()) for row in ROUTES}
    paths |= {(path, "post") for path in ("/", *DEFAULT_PATHS)} | {("/v1/models/small", "get")}
    assert {(path, method) for path, methods in document["paths"].items() for method in methods} == paths


@pytest.mark.parametrize("task", MODELS)
def test_routes_that_apply(start: Start, task: str) -> None:
    """Those that are marked as such are those that do not answer 424."""
    document = document_of(start_one(start, task))
    assert document["info"]["x-models"] == [{"name": "small", "task": task.replace("_", " ")}]
    known = {tag["name"] for tag in document["tags"]}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert set(operation["tags"]) <= known
    for path, (tasks, _) in WRONG.items():
        assert document["paths"][path]["post"]["x-applies"] == (task in tasks), path


def test_every_status_has_the_shape_of_its_dialect(served: Served) -> None:
    document = document_of(served)
    for row in ROUTES:
        responses = dict(document["paths"][row.path][row.method.lower()]["responses"])
        assert ("401" in responses) == (row.access != "open")
        if row.method == "POST":
            assert {"400", "408", "413", "415", "422"} <= set(responses)
        del responses["200"]
        for response in responses.values():
            reference = response["content"]["application/json"]["schema"]["$ref"]
            assert reference == f"#/components/schemas/{SHAPES[row.dialect]}"


def test_nothing_is_left_open(served: Served) -> None:
    """Every reference leads somewhere, and no mark of a bound is left."""
    document = document_of(served)
    text = json.dumps(document)
    assert set(re.findall(r'"#/components/schemas/(\w+)"', text)) == set(document["components"]["schemas"])
    assert "x-bound" not in text


def test_text_answers_have_their_types(served: Served) -> None:
    paths = document_of(served)["paths"]
    for path, content_type in (("/metrics", "text/plain"), ("/docs", "text/html")):
        assert list(paths[path]["get"]["responses"]["200"]["content"]) == [content_type]
        assert served.client.get(path).headers["content-type"].startswith(content_type)
    assert "content" not in paths["/health"]["get"]["responses"]["200"]


@pytest.mark.parametrize("task", MODELS)
def test_requests_and_answers_are_what_is_said(start: Start, task: str) -> None:
    served = start_one(start, task)
    document = document_of(served)
    requests = REQUESTS | {"/": MODELS[task][3], "/vertex": {"instances": [MODELS[task][3]]}}
    requests |= {"/tokenize": {"inputs": "w1"}, "/decode": {"ids": [[5, 6], []]}}
    for path, request in requests.items():
        assert accepts(document, path, request)
        response = served.client.post(path, json=request)
        described = document["paths"][path]["post"]["responses"][str(response.status_code)]
        schema = described["content"]["application/json"]["schema"]
        validator(document, schema).validate(response.json())
        if path in WRONG:
            assert (response.status_code == 200) == (task in WRONG[path][0])


def test_answers_about_the_server(served: Served) -> None:
    document = document_of(served)
    for path in ("/info", "/v1/models", "/v1/models/small", "/"):
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        validator(document, schema).validate(served.client.get(path).json())


@pytest.mark.parametrize("task", MODELS)
def test_examples_are_answered(start: Start, task: str) -> None:
    served = start_one(start, task)
    document = document_of(served)
    answered = set()
    for path, methods in document["paths"].items():
        for example in examples(methods):
            assert accepts(document, path, example), path
            status = served.client.post(path, json=example).status_code
            assert status in (200, 424), path
            answered |= {path} if status == 200 else set()
    assert {"/tokenize", "/decode", "/", *(path for path, (tasks, _) in WRONG.items() if task in tasks)} <= answered


def examples(methods: dict[str, Any]) -> Iterator[object]:
    content = methods.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
    yield from (content["example"],) if "example" in content else ()


def test_the_default_route_has_the_deployments_example(start: Start) -> None:
    example = {"input": "w1 w2", "model": "own"}
    document = document_of(start(FakeEngine(), manifest=small_manifest(example_input=example)))
    for path in ("/v1/embeddings", *DEFAULT_PATHS):
        assert list(examples(document["paths"][path])) == [example]
    assert list(examples(document["paths"]["/embed"])) != [example]


WRONG_BODIES: list[tuple[str, Any]] = [
    ("/v1/embeddings", {}),
    ("/v1/embeddings", {"input": []}),
    ("/v1/embeddings", {"input": ""}),
    ("/v1/embeddings", {"input": ["a", 1]}),
    ("/v1/embeddings", {"input": ["a", ""]}),
    ("/v1/embeddings", {"input": [-1]}),
    ("/v1/embeddings", {"input": [1004]}),
    ("/v1/embeddings", {"input": [[]]}),
    ("/v1/embeddings", {"input": ["a"] * 5}),
    ("/v1/embeddings", {"input": "a", "dimensions": 0}),
    ("/v1/embeddings", {"input": "a", "dimensions": 9}),
    ("/v1/embeddings", {"input": "a", "prompt_name": "other"}),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a"] * 4}}),
    ("/v2/embed", {"texts": ["a"], "input_type": "other"}),
    ("/v2/embed", {"texts": ["a"], "embedding_types": []}),
    ("/v2/embed", {"inputs": [{"content": []}]}),
    ("/tokenize", {"inputs": [""]}),
    ("/decode", {"ids": []}),
    ("/decode", {"ids": [1, [2]]}),
    ("/vertex", {"instances": [{}]}),
    ("/vertex", {"instances": []}),
]


def test_what_is_refused_is_said_to_be_wrong(start: Start) -> None:
    manifest = small_manifest(prompts=Prompts({"query": "w1 "}))
    served = start(FakeEngine(), limits=Limits(max_client_batch_size=4), manifest=manifest)
    document = document_of(served)
    for path, body in WRONG_BODIES:
        assert not accepts(document, path, body), body
        assert served.refused(path, **body)[0] in (400, 422)


@pytest.mark.parametrize(
    "inputs", [[], "", ["a", "b", "c"], [["a", "b", "c"]], ["a", ["b"]], [[]], [["a"], "b"]], ids=str
)
def test_the_grammar_of_predict_is_described(start: Start, inputs: object) -> None:
    served = start_one(start, "classifier")
    assert not accepts(document_of(served), "/predict", {"inputs": inputs})
    assert served.refused("/predict", inputs=inputs)[0] in (400, 422)
