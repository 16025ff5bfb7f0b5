"""Vertex AI's envelope: each instance is a request to TEI's route for the model's task."""

import asyncio
from typing import Annotated, Any

import msgspec

from openbei.api.choice import choose
from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body, open_body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import bound
from openbei.api.limits import check_count
from openbei.api.pipeline import read
from openbei.api.service import Route, Service
from openbei.spec import Task

NATIVE: dict[Task, str] = {
    "embedding": "/embed",
    "sparse": "/embed_sparse",
    "reranker": "/rerank",
    "classifier": "/predict",
    "token_classifier": "/predict_tokens",
    "late_interaction": "/embed_all",
}
"""The route that answers the instances, by task, as in TEI."""


class VertexRequest(msgspec.Struct, frozen=True):
    """Vertex AI's envelope around requests."""

    instances: Annotated[list[msgspec.Raw], bound("instances")]


class VertexResponse(msgspec.Struct, frozen=True):
    """The answers, in the order of the instances."""

    predictions: list[Any]


_DECODER = msgspec.json.Decoder(VertexRequest)


def native_route(service: Service) -> Route:
    """The route that answers an instance."""
    return service.server.post_routes[NATIVE[service.model.manifest.main_task]]


async def vertex(service: Service, call: Call, body: Body) -> Reply:
    """Predictions in the order of the instances.

    The instances share the limits of one request; if one fails, all fail. The `model` of an instance precedes that of
    the envelope.
    """
    request = await read(body, _DECODER, decisions.VERTEX)
    check_count(len(request.instances), service.server.limits, "instances")

    async def predict(instance: msgspec.Raw) -> object:
        content = await open_body(bytes(instance))
        chosen = choose(service.server, [service], content.fields)
        reply = await native_route(chosen).handler(chosen, call, content)
        return reply.answer

    tasks = [asyncio.ensure_future(predict(instance)) for instance in request.instances]
    try:
        return Reply(VertexResponse(await asyncio.gather(*tasks)))
    finally:
        for task in tasks:
            task.cancel()
