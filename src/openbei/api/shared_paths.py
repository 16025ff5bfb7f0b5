"""Paths that clients of several dialects share: the shape of the body says which one is meant.

POST / is the default route, and what Hugging Face's clients ask of a server when an address is all that they know. They
tell their task only by the body: `inputs`, with `parameters` unless embeddings are wanted. The npm client leaves
`parameters` out, so it is known by its name.
"""

from dataclasses import replace
from typing import Any

from openbei.api.dialects import huggingface, vllm
from openbei.api.dialects.huggingface import Span, TextRequest, TokenRequest
from openbei.api.dialects.tei import embed, predict, similarity
from openbei.api.dialects.tei.embed import EmbedRequest
from openbei.api.dialects.tei.similarity import SimilarityRequest
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.operations.labels import Label
from openbei.api.service import Handler, Route, Service
from openbei.spec import Task

PIPELINES: dict[Task, Handler] = {
    "reranker": huggingface.classify_texts,
    "classifier": huggingface.classify_texts,
    "token_classifier": huggingface.classify_tokens,
}
"""Who answers `parameters`, by task."""

NPM = b"@huggingface/inference/"
"""How the npm client's User-Agent begins."""

Kinds = tuple[Any, ...]

ALSO: dict[Task, tuple[Kinds, Kinds]] = {
    "embedding": ((EmbedRequest, SimilarityRequest), (list[list[float]], list[float])),
    "reranker": ((TextRequest,), (list[list[Label]],)),
    "classifier": ((TextRequest,), (list[list[Label]],)),
    "token_classifier": ((TokenRequest,), (list[Span], list[list[Span]])),
    "sparse": ((), ()),
}
"""Requests and answers at POST / that are not the default route's, by task."""


async def classify(service: Service, call: Call, body: Body) -> Reply:
    """vLLM's and Jina's classifier; a body with `inputs` is answered as at /predict."""
    is_tei = body.given.keys() & {"input", "inputs"} == {"inputs"}
    return await (predict.predict if is_tei else vllm.classify_texts)(service, call, body)


def at_root(default: Route, task: Task) -> Route:
    """The route of POST /, where `default` is the default route."""

    async def root(service: Service, call: Call, body: Body) -> Reply:
        """Hand a request to who answers its shape."""
        given = body.given
        handler = default.handler
        if bytes(given.get("inputs", b"")).startswith(b"{"):
            handler = similarity.similarity
        elif "inputs" in given and task == "embedding":
            handler = embed.embed
        elif "inputs" in given and ("parameters" in given or call.headers.get(b"user-agent", b"").startswith(NPM)):
            handler = PIPELINES.get(task, handler)
        return await handler(service, call, body)

    requests, responses = ALSO[task]
    return replace(
        default,
        path="/",
        handler=root,
        request=(*kinds(default.request), *requests),
        response=tuple(dict.fromkeys((*kinds(default.response), *responses))),
    )


def kinds(part: object) -> Kinds:
    """The types of a request or an answer of a route, one or several."""
    return part if isinstance(part, tuple) else (part,)
