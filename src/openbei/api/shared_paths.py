"""Paths that several dialects share: the body's fields select the handler.

POST / is the default route, and the only path that Hugging Face's clients use. Their bodies have `inputs`, and
`parameters` for every task but embeddings. The npm client omits `parameters`, so its User-Agent identifies it.
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
}
"""Task -> request and response types at POST / in addition to the default route's."""


async def classify(service: Service, call: Call, body: Body) -> Reply:
    """vLLM's and Jina's classifier; a body with `inputs` is answered as at /predict."""
    is_tei = body.fields.keys() & {"input", "inputs"} == {"inputs"}
    return await (predict.predict if is_tei else vllm.classify_texts)(service, call, body)


def at_root(default: Route, task: Task) -> Route:
    """The route of POST /, where `default` is the default route."""

    async def root(service: Service, call: Call, body: Body) -> Reply:
        """Call the handler selected by the body's fields."""
        fields = body.fields
        handler = default.handler
        if bytes(fields.get("inputs", b"")).startswith(b"{"):
            handler = similarity.similarity
        elif "inputs" in fields and task == "embedding":
            handler = embed.embed
        elif "inputs" in fields and ("parameters" in fields or call.headers.get(b"user-agent", b"").startswith(NPM)):
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
    """The types of a route's request or response as a tuple."""
    return part if isinstance(part, tuple) else (part,)
