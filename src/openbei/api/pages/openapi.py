"""GET /openapi.json: the document is derived from the table of routes, the wire structs, and the model.

An operation has a tag; `x-applies` is whether a model supports it. `info.x-models` has the models' names and tasks.
"""

from http import HTTPStatus
from typing import Any

import msgspec

from openbei.api.default_route import default, default_route
from openbei.api.dialects.vertex import VertexRequest
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.errors import FAILURES
from openbei.api.pages.bounds import any_of, bounded, bounds, kinds_of
from openbei.api.pages.examples import EXAMPLES, vertex_example
from openbei.api.pages.groups import SERVER, TAGS, applies, tag_of, task_of
from openbei.api.service import Route, ServerState, Service

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"


async def describe(service: Service, call: Call, body: Body) -> Reply:
    """The OpenAPI 3.1 document."""
    return Reply(document(service.server))


def document(server: ServerState) -> Schema:
    """OpenAPI 3.1 of the routes of a server."""
    kinds, routes = list(FAILURES.values()), server.routes
    kinds += [kind for route in routes for part in (route.request, route.response) for kind in kinds_of(part)]
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REFERENCE)
    limits = bounds(server, dict(zip(kinds, schemas, strict=True)))
    schema_of = {kind: bounded(schema, limits) for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, Schema] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(server, route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "openbei",
            "version": server.version,
            "x-models": [
                {"name": name, "task": task_of(service.model.manifest)} for name, service in server.services.items()
            ],
        },
        "tags": [{"name": name} for name in (*TAGS, SERVER)],
        "paths": paths,
        "components": {
            "schemas": bounded(components, limits),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(server: ServerState, route: Route, schema_of: dict[Any, Schema]) -> Schema:
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
        "x-applies": _supporting(server, route) is not None,
        "responses": {"200": answer, **failures},
    }
    if route.access != "open":
        operation["security"] = [{"key": []}, {}]
    if route.request:
        body: Schema = {"schema": any_of(route.request, schema_of)}
        if example := _example(server, route):
            body["example"] = example
        operation["requestBody"] = {"required": True, "content": {"application/json": body}}
    return operation


def _supporting(server: ServerState, route: Route) -> Service | None:
    """The first service whose model supports a route, or None."""
    services = server.services.values()
    return next((service for service in services if applies(route, service.model.manifest)), None)


def _example(server: ServerState, route: Route) -> object:
    """The deployment's own example at its default route, else that of the request. One of several models is named."""
    service = _supporting(server, route) or next(iter(server.services.values()))
    example = EXAMPLES.get(kinds_of(route.request)[0])
    if route.request is VertexRequest:
        example = vertex_example(service.model.manifest.main_task)
    elif route.handler in (default, default_route(service).handler):
        own = service.model.manifest.example_input
        example = example if own is None else own
    if len(server.services) > 1 and isinstance(example, dict):
        return {**example, "model": service.model.name}
    return example
