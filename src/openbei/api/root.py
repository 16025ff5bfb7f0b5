"""POST /: the default route, and what the Hugging Face client asks of a server when an address is all that it knows.

It tells its task only by the shape of the body: `inputs`, with `parameters` unless embeddings are wanted. The npm
client leaves `parameters` out, so it is known by its name.
"""

from dataclasses import replace
from typing import Any

from openbei.api import embed, pipelines, similarity
from openbei.api.call import Call, Reply
from openbei.api.inference import body
from openbei.api.service import Handler, Row, Service
from openbei.api.vertex import Instance
from openbei.api.wire.huggingface import Span, TextRequest, TokenRequest
from openbei.api.wire.tei import EmbedRequest, Label, SimilarityRequest
from openbei.spec import Task

PIPELINES: dict[Task, Handler] = {
    "reranker": pipelines.classify_texts,
    "classifier": pipelines.classify_texts,
    "token_classifier": pipelines.classify_tokens,
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


def at_root(default: Row, task: Task) -> Row:
    """The row of POST /, where `default` is the default route's."""

    async def root(service: Service, call: Call) -> Reply:
        """Hand a request to who answers its shape."""
        content = await body(service, call)
        fields = content.given
        handler = default.handler
        if bytes(fields.get("inputs", b"")).startswith(b"{"):
            handler = similarity.similarity
        elif "inputs" in fields and task == "embedding":
            handler = embed.embed
        elif "inputs" in fields and ("parameters" in fields or call.headers.get(b"user-agent", b"").startswith(NPM)):
            handler = PIPELINES.get(task, handler)
        return await handler(service, Instance(call, content.content))

    requests, responses = ALSO[task]
    return replace(
        default,
        path="/",
        handler=root,
        request=(*kinds(default.request), *requests),
        response=tuple(dict.fromkeys((*kinds(default.response), *responses))),
    )


def kinds(part: object) -> Kinds:
    """The types of a request or an answer of a row, one or several."""
    return part if isinstance(part, tuple) else (part,)
