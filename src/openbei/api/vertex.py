"""POST /vertex: requests in Vertex AI's envelope, each answered as at TEI's route for the model's task."""

import asyncio
from collections import Counter

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
    """One request of an envelope: everything is the whole call's, but the body.

    `totals` is what all of them have together, by its name.
    """

    def __init__(self, call: Call, content: bytes, totals: "Counter[str] | None" = None) -> None:
        vars(self).update(vars(call))
        self._content = content
        self._totals = Counter() if totals is None else totals

    async def body(self, max_bytes: int, max_inflated_bytes: int) -> bytes:
        """The instance."""
        return self._content

    def total(self, what: str, count: int) -> int:
        """That of this instance and of all that came before it."""
        self._totals[what] += count
        return self._totals[what]


async def vertex(service: Service, call: Call) -> Reply:
    """Predictions in the order of the instances, which run together, share a request's limits, and fail together."""
    request = await read(service, call, _DECODER, decisions.VERTEX)
    check_count(len(request.instances), service.limits, "instances")
    handler = native(service.manifest)
    totals: Counter[str] = Counter()
    instances = [Instance(call, bytes(instance), totals) for instance in request.instances]
    tasks = [asyncio.ensure_future(handler(service, instance)) for instance in instances]
    try:
        replies = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    return Reply(VertexResponse([reply.answer for reply in replies]))
