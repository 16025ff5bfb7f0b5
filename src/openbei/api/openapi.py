"""GET /openapi.json: the document is derived from the table of routes, the wire structs, and the model.

An operation has a tag, and `x-applies` says whether the model answers there. `info.x-model` names the model.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from openbei.api.bounds import any_of, bounded, bounds, kinds_of
from openbei.api.call import Call, Reply
from openbei.api.examples import EXAMPLES, vertex_example
from openbei.api.service import Dialect, Row, Service
from openbei.api.wire import CohereFailure, FailureBody, TeiFailure
from openbei.api.wire.tei import VertexRequest
from openbei.api.wrong_task import (
    is_reranker,
    require_classifier,
    require_embedding,
    require_reranker,
    require_sparse,
    require_token_classifier,
)
from openbei.engine_dir import Manifest
from openbei.errors import WrongTaskError

Schema = dict[str, Any]

TAGS: dict[str, tuple[str, ...]] = {
    "Embeddings": (
        "/v1/embeddings",
        "/embeddings",
        "/embed",
        "/embed_all",
        "/similarity",
        "/v2/embed",
        "/v1/embed",
    ),
    "Reranking": ("/rerank", "/v1/rerank", "/v2/rerank", "/v1/score", "/score"),
    "Classification": ("/predict", "/v1/classify", "/classify"),
    "Named entities": ("/predict_tokens",),
    "Sparse embeddings": ("/embed_sparse",),
    "Tokens": ("/tokenize", "/decode"),
    "Platforms": ("/vertex", "/invocations", "/v1/models/model:predict"),
}
"""Tag -> paths of POST routes; POST / is for platforms as well. GET routes are about the server."""

REQUIREMENTS: dict[str, Callable[[Manifest], None]] = {
    "Embeddings": require_embedding,
    "Reranking": require_reranker,
    "Classification": require_classifier,
    "Named entities": require_token_classifier,
    "Sparse embeddings": require_sparse,
}
"""Tag -> what raises WrongTaskError for a model that does not answer there; others answer for every model."""

SERVER, PLATFORMS = "Server", "Platforms"

FAILURES: dict[Dialect, type] = {"openai": FailureBody, "tei": TeiFailure, "cohere": CohereFailure}
"""What an error looks like in each dialect."""

_REFERENCE = "#/components/schemas/{name}"


async def describe(service: Service, call: Call) -> Reply:
    """The OpenAPI 3.1 document."""
    return Reply(document(service))


def document(service: Service) -> Schema:
    """OpenAPI 3.1 of the routes of a service."""
    kinds = list(FAILURES.values())
    kinds += [kind for row in service.routes for part in (row.request, row.response) for kind in kinds_of(part)]
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    limits = bounds(service, dict(zip(kinds, schemas, strict=True)))
    schema_of = {kind: bounded(schema, limits) for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, Schema] = {}
    for row in service.routes:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(service, row, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "openbei",
            "version": service.version,
            "x-model": {"name": service.manifest.model_name, "task": task_of(service.manifest)},
        },
        "tags": [{"name": name} for name in (*TAGS, SERVER)],
        "paths": paths,
        "components": {
            "schemas": bounded(components, limits),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def task_of(manifest: Manifest) -> str:
    """The task of a model in words."""
    return "reranker" if is_reranker(manifest) else manifest.spec.task.replace("_", " ")


def tag_of(row: Row) -> str:
    """The group that a route is listed in."""
    if row.method == "GET":
        return SERVER
    return next((tag for tag, paths in TAGS.items() if row.path in paths), PLATFORMS)


def applies(row: Row, manifest: Manifest) -> bool:
    """Whether a model answers at a route, instead of refusing every request with 424."""
    require = REQUIREMENTS.get(tag_of(row))
    if require is None or (row.path.endswith("/score") and manifest.spec.task == "embedding"):
        return True
    try:
        require(manifest)
    except WrongTaskError:
        return False
    return True


def _operation(service: Service, row: Row, schema_of: dict[Any, Schema]) -> Schema:
    answer: Schema = {"description": "OK"}
    if row.response or row.content_type:
        content_type = row.content_type or "application/json"
        answer["content"] = {content_type: {"schema": any_of(row.response, schema_of) or {"type": "string"}}}
    statuses = {*row.failures, *((401,) if row.access != "open" else ())}
    failures = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": schema_of[FAILURES[row.dialect]]}},
        }
        for status in sorted(statuses)
    }
    operation: Schema = {
        "summary": row.summary,
        "tags": [tag_of(row)],
        "x-applies": applies(row, service.manifest),
        "responses": {"200": answer, **failures},
    }
    if row.access != "open":
        operation["security"] = [{"key": []}, {}]
    if row.request:
        body: Schema = {"schema": any_of(row.request, schema_of)}
        if example := _example(service, row):
            body["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _example(service: Service, row: Row) -> object:
    """The deployment's own example at its default route, else that of the request."""
    if row.request is VertexRequest:
        return vertex_example("reranker" if is_reranker(service.manifest) else service.manifest.spec.task)
    default = next(one for one in service.routes if one.path == service.manifest.default_route)
    if row.handler is default.handler and service.manifest.example_input is not None:
        return service.manifest.example_input
    return EXAMPLES.get(kinds_of(row.request)[0])
