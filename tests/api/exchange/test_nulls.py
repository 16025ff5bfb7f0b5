"""A field that is null is one that is not given, also where the names of fields say which request it is."""

from typing import Any

import msgspec
import pytest

from openbei.api.pages.bounds import kinds_of
from openbei.api.routes import ROUTES

from ..conftest import Start
from ..test_routes import MODELS, REQUESTS, WRONG, start_one

PARTS = [{"content": [{"type": "text", "text": "w1"}]}]
SHAPES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("reranker", "/rerank", {"texts": None, "query": "w1", "documents": ["w2"]}, {"query": "w1", "documents": ["w2"]}),
    ("reranker", "/rerank", {"documents": None, "query": "w1", "texts": ["w2"]}, {"query": "w1", "texts": ["w2"]}),
    ("reranker", "/score", {"queries": None, "text_1": "w1", "text_2": "w2"}, {"text_1": "w1", "text_2": "w2"}),
    (
        "reranker",
        "/score",
        {"queries": None, "documents": None, "text_1": None, "text_2": None, "data_1": "w1", "data_2": "w2"},
        {"text_1": "w1", "text_2": "w2"},
    ),
    ("classifier", "/classify", {"input": None, "inputs": "w1"}, {"inputs": "w1"}),
    ("classifier", "/classify", {"inputs": None, "input": "w1"}, {"input": "w1"}),
    ("classifier", "/", {"inputs": "w1", "parameters": None}, {"inputs": "w1"}),
    ("classifier", "/", {"inputs": "w1", "parameters": {"top_k": None}}, {"inputs": "w1", "parameters": {}}),
    ("token_classifier", "/", {"inputs": "w1", "parameters": None}, {"inputs": "w1"}),
    ("embedding", "/", {"inputs": None, "input": "w1"}, {"input": "w1"}),
    ("embedding", "/v2/embed", {"texts": None, "inputs": PARTS}, {"texts": ["w1"]}),
    ("embedding", "/v2/embed", {"texts": ["w1"], "inputs": None, "images": None}, {"texts": ["w1"]}),
    ("embedding", "/similarity", {**REQUESTS["/similarity"], "parameters": None}, REQUESTS["/similarity"]),
]


def without_ids(answer: Any) -> Any:
    """An answer without what differs from one to the next."""
    return {k: v for k, v in answer.items() if k not in ("id", "created")} if isinstance(answer, dict) else answer


@pytest.mark.parametrize(("task", "path", "with_null", "without"), SHAPES, ids=str)
def test_shapes(start: Start, task: str, path: str, with_null: dict[str, Any], without: dict[str, Any]) -> None:
    served = start_one(start, task)
    if path == "/" and task == "embedding":  # the default route, which is OpenAI's where no `inputs` come
        served = start_one(start, task, default_route="/v1/embeddings")
    assert without_ids(served.post(path, **with_null)) == without_ids(served.post(path, **without))


@pytest.mark.parametrize("task", MODELS)
def test_every_field(start: Start, task: str) -> None:
    served = start_one(start, task)
    for row in ROUTES:
        given = REQUESTS.get(row.path, {"inputs": "w1"} if row.path == "/tokenize" else None)
        if given is None or task not in WRONG.get(row.path, ({task}, ""))[0]:
            continue
        fields = {f.encode_name for kind in kinds_of(row.request) for f in msgspec.structs.fields(kind)}
        nulls = dict.fromkeys(fields - given.keys())
        assert without_ids(served.post(row.path, **given, **nulls)) == without_ids(served.post(row.path, **given))
