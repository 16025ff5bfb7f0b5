"""Paths that several dialects share: the body's fields select the handler.

POST / is the default route, and the only path that Hugging Face's clients use. Their bodies have `inputs`, and
`parameters` for every task but embeddings. The npm client omits `parameters`, so its User-Agent identifies it.
"""

from collections.abc import Iterable
from typing import Any

from openbei.api.default_route import default
from openbei.api.dialects import huggingface, vllm
from openbei.api.dialects.huggingface import Span, TextRequest, TokenRequest
from openbei.api.dialects.tei import embed, predict, similarity
from openbei.api.dialects.tei.embed import EmbedRequest
from openbei.api.dialects.tei.similarity import SimilarityRequest
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.service import Handler, Route, Service
from openbei.spec import Task
from openbei.tasks.classify import Label

PIPELINES: dict[Task, Handler] = {
    "reranker": huggingface.classify_texts,
    "classifier": huggingface.classify_texts,
    "token_classifier": huggingface.classify_tokens,
}
"""Handlers of bodies with `parameters`, by task."""

NPM = b"@huggingface/inference/"
"""The start of the npm client's User-Agent."""

Kinds = tuple[Any, ...]

ALSO: dict[Task, tuple[Kinds, Kinds]] = {
    "embedding": ((EmbedRequest, SimilarityRequest), (list[list[float]], list[float])),
    "reranker": ((TextRequest,), (list[list[Label]],)),
    "classifier": ((TextRequest,), (list[list[Label]],)),
    "token_classifier": ((TokenRequest,), (list[Span], list[list[Span]])),
    "sparse": ((), ()),
    "late_interaction": ((), ()),
}
"""Task -> request and response types at POST / in addition to the default route's."""


async def classify(service: Service, call: Call, body: Body) -> Reply:
    """vLLM's and Jina's classifier; a body with `inputs` is answered as at /predict."""
    is_tei = body.fields.keys() & {"input", "inputs"} == {"inputs"}
    return await (predict.predict if is_tei else vllm.classify_texts)(service, call, body)


async def root(service: Service, call: Call, body: Body) -> Reply:
    """The answer of the handler that the body's fields select; by default that of the default route."""
    fields, task = body.fields, service.model.task
    handler: Handler = default
    if bytes(fields.get("inputs", b"")).startswith(b"{"):
        handler = similarity.similarity
    elif "inputs" in fields and task == "embedding":
        handler = embed.embed
    elif "inputs" in fields and ("parameters" in fields or call.headers.get(b"user-agent", b"").startswith(NPM)):
        handler = PIPELINES.get(task, handler)
    return await handler(service, call, body)


def united(routes: Iterable[Route], tasks: Iterable[Task] = ()) -> tuple[Kinds, Kinds]:
    """The request and response types of several routes, and those at POST / for models of `tasks`."""
    requests = [kind for route in routes for kind in kinds(route.request)]
    responses = [kind for route in routes for kind in kinds(route.response)]
    for task in tasks:
        more_requests, more_responses = ALSO[task]
        requests += more_requests
        responses += more_responses
    return tuple(dict.fromkeys(requests)), tuple(dict.fromkeys(responses))


def kinds(part: object) -> Kinds:
    """The types of a route's request or response as a tuple."""
    return part if isinstance(part, tuple) else (part,)
