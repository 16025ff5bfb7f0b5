"""The default route of a model, which also answers at other paths."""

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.service import Route, Service

DEFAULT_PATHS = ("/invocations", "/v1/models/model:predict")
"""Additional paths of the default route; `/`, which Hugging Face's clients use, is handled separately."""


def default_route(service: Service) -> Route:
    """The default route of a service's model."""
    return service.server.post_routes[service.model.manifest.default_route]


async def default(service: Service, call: Call, body: Body) -> Reply:
    """The answer of the model's default route."""
    return await default_route(service).handler(service, call, body)
