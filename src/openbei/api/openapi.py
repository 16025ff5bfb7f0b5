"""GET /openapi.json: the document is derived from the table of routes, the wire structs, and the model."""

from http import HTTPStatus
from typing import Any

import msgspec

from openbei.api.bounds import any_of, bounded, bounds, kinds_of
from openbei.api.call import Call, Reply
from openbei.api.examples import EXAMPLES
from openbei.api.service import Dialect, Row, Service
from openbei.api.wire import CohereFailure, FailureBody, TeiFailure

Schema = dict[str, Any]

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
        "info": {"title": "openbei", "version": service.version},
        "paths": paths,
        "components": {
            "schemas": bounded(components, limits),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


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
    operation: Schema = {"summary": row.summary, "responses": {"200": answer, **failures}}
    if row.access != "open":
        operation["security"] = [{"key": []}, {}]
    if row.request:
        body: Schema = {"schema": any_of(row.request, schema_of)}
        if example := _example(service, row):
            body["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _example(service: Service, row: Row) -> object:
    """The deployment's own example where its default route answers, else that of the request."""
    default = next(one for one in service.routes if one.path == service.manifest.default_route)
    if row.handler is default.handler and service.manifest.example_input is not None:
        return service.manifest.example_input
    return EXAMPLES.get(kinds_of(row.request)[0])
