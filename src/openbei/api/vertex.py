"""POST /vertex: requests in Vertex AI's envelope, each answered as at TEI's route for the model's task."""

import asyncio

import msgspec

from openbei.api import embed, predict, predict_tokens, rerank
from openbei.api.call import Call, Reply
from openbei.api.inference import read
from openbei.api.inputs import check_count
from openbei.api.service import Handler, Service
from openbei.api.wire import decisions
from openbei.api.wire.tei import VertexRequest, VertexResponse
from openbei.api.wrong_task import is_reranker
from openbei.engine_dir import Manifest
from openbei.spec import Task

NATIVE: dict[Task, Handler] = {
    "embedding": embed.embed,
    "sparse": embed.embed_sparse,
    "reranker": rerank.rerank,
    "classifier": predict.predict,
    "token_classifier": predict_tokens.predict_tokens,
}
"""What a task's requests are, as in TEI."""


_DECODER = msgspec.json.Decoder(VertexRequest)


def native(manifest: Manifest) -> Handler:
    """What answers an instance."""
    return NATIVE["reranker" if is_reranker(manifest) else manifest.spec.task]


class Instance(Call):
    """One request of an envelope: everything is the whole call's, but the body."""

    def __init__(self, call: Call, content: bytes) -> None:
        vars(self).update(vars(call))
        self._content = content

    async def body(self, max_bytes: int) -> bytes:
        """The instance."""
        return self._content


async def vertex(service: Service, call: Call) -> Reply:
    """Predictions in the order of the instances, which run together; if one fails, all do."""
    request = await read(service, call, _DECODER, decisions.VERTEX)
    check_count(len(request.instances), service.limits, "instances")
    handler = native(service.manifest)
    tasks = [asyncio.ensure_future(handler(service, Instance(call, bytes(instance)))) for instance in request.instances]
    try:
        replies = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return Reply(VertexResponse([reply.answer for reply in replies]))
