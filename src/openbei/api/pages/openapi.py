"""GET /openapi.json: the document is derived from the table of routes, the wire structs, and the model.

An operation has a tag; `x-applies` is whether the model supports it. `info.x-model` names the model.
"""

from http import HTTPStatus
from typing import Any

import msgspec

from openbei.api.dialects.vertex import VertexRequest
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.errors import FAILURES
from openbei.api.pages.bounds import any_of, bounded, bounds, kinds_of
from openbei.api.pages.examples import EXAMPLES, vertex_example
from openbei.api.pages.groups import SERVER, TAGS, applies, tag_of, task_of
from openbei.api.service import Route, Service

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"


async def describe(service: Service, call: Call, body: Body) -> Reply:
    """The OpenAPI 3.1 document."""
    return Reply(document(service))


def document(service: Service) -> Schema:
    """OpenAPI 3.1 of the routes of a service."""
    kinds, routes = list(FAILURES.values()), service.server.routes
    kinds += [kind for route in routes for part in (route.request, route.response) for kind in kinds_of(part)]
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    limits = bounds(service, dict(zip(kinds, schemas, strict=True)))
    schema_of = {kind: bounded(schema, limits) for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(service, route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "openbei",
            "version": service.server.version,
            "x-model": {"name": service.model.name, "task": task_of(service.model.manifest)},
        },
        "tags": [{"name": name} for name in (*TAGS, SERVER)],
        "paths": paths,
        "components": {
            "schemas": bounded(components, limits),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(service: Service, route: Route, schema_of: dict[Any, Schema]) -> Schema:
    answer: Schema = {"description": "OK"}
    if route.response or route.content_type:
        content_type = route.content_type or "application/json"
        answer["content"] = {content_type: {"schema": any_of(route.response, schema_of) or {"type": "string"}}}
    statuses = {*route.failures, *((401,) if route.access != "open" else ())}
    failures = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": schema_of[FAILURES[route.dialect]]}},
        }
        for status in sorted(statuses)
    }
    operation: Schema = {
        "summary": route.summary,
        "tags": [tag_of(route)],
        "x-applies": applies(route, service.model.manifest),
        "responses": {"200": answer, **failures},
    }
    if route.access != "open":
        operation["security"] = [{"key": []}, {}]
    if route.request:
        body: Schema = {"schema": any_of(route.request, schema_of)}
        if example := _example(service, route):
            body["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _example(service: Service, route: Route) -> object:
    """The deployment's own example at its default route, else that of the request."""
    if route.request is VertexRequest:
        return vertex_example(service.model.manifest.main_task)
    default = service.server.route(service.model.manifest.default_route)
    if route.handler is default.handler and service.model.manifest.example_input is not None:
        return service.model.manifest.example_input
    return EXAMPLES.get(kinds_of(route.request)[0])
