"""GET / lists the routes, GET /metrics the server's metrics."""

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.service import Service


class Index(msgspec.Struct, frozen=True):
    """The name and version of the server, its models, and its routes."""

    name: str
    version: str
    models: list[str]
    routes: list[str]


async def index(service: Service, call: Call, body: Body) -> Reply:
    """Name, version, models, routes."""
    routes = [f"{route.method} {route.path}" for route in service.server.routes]
    return Reply(Index("openbei", service.server.version, list(service.server.services), routes))


async def metrics(service: Service, call: Call, body: Body) -> Reply:
    """Prometheus text format."""
    return Reply(await service.server.exposition(), content_type=CONTENT_TYPE_LATEST.encode())
