"""GET /openapi.json: the document is derived from the ROUTES table and the wire structs."""

from http import HTTPStatus
from typing import Any

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.service import Row, Service
from openbei.api.wire import FailureBody

Schema = dict[str, Any]


async def describe(service: Service, call: Call) -> Reply:
    """The OpenAPI 3.1 document."""
    return Reply(msgspec.json.encode(document(service.routes, service.version)))


def document(routes: tuple[Row, ...], version: str) -> Schema:
    """OpenAPI 3.1 of a table of routes."""
    structs = {kind for row in routes for kind in (row.request, row.response) if kind} | {FailureBody}
    ordered = sorted(structs, key=lambda kind: kind.__name__)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, Schema] = {}
    for row in routes:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "openbei", "version": version},
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(row: Row, schema_of: dict[type, Schema]) -> Schema:
    answer: Schema = {"description": "OK"}
    if row.response:
        answer["content"] = _json(schema_of[row.response])
    failures = {
        str(status): {"description": HTTPStatus(status).phrase, "content": _json(schema_of[FailureBody])}
        for status in row.failures
    }
    operation: Schema = {"summary": row.summary, "responses": {"200": answer, **failures}}
    if row.request:
        operation["requestBody"] = {"required": True, "content": _json(schema_of[row.request])}
    return operation


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}
