"""GET routes that say what is served: the index, the models, the metrics."""

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from openbei.api.call import Call, Reply
from openbei.api.service import Service
from openbei.api.wire import Index, Model, Models


async def index(service: Service, call: Call) -> Reply:
    """Name, version, routes."""
    routes = [f"{row.method} {row.path}" for row in service.routes]
    return Reply(msgspec.json.encode(Index("openbei", service.version, service.model_name, routes)))


async def models(service: Service, call: Call) -> Reply:
    """OpenAI's list of models: one."""
    return Reply(msgspec.json.encode(Models([Model(service.model_name, service.created)])))


async def metrics(service: Service, call: Call) -> Reply:
    """Prometheus text format."""
    return Reply(generate_latest(service.metrics.registry), content_type=CONTENT_TYPE_LATEST.encode())
