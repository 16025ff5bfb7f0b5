"""Cohere's embeddings in one or more types, and its reranker."""

from typing import Annotated, Any, Literal

import msgspec

from openbei.api.dialects import decisions
from openbei.api.dialects.ranking import ApiVersion, BilledUnits, Meta, rank_documents
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.encoding import floats
from openbei.api.exchange.request_ids import RequestIds
from openbei.api.fields import Dimensions, Text, Texts, bound
from openbei.api.limits import as_texts
from openbei.api.operations.embedding import EncodingFormat, check_embedding, embed, written
from openbei.api.operations.inputs import tokenize_texts
from openbei.api.operations.truncation import CohereSide, cohere_truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service
from openbei.batch import Vectors
from openbei.errors import EmptyInputError, InputError


class Content(msgspec.Struct, frozen=True):
    """A part of an input; only text can be read."""

    type: Literal["text"]
    text: Text


class Mixed(msgspec.Struct, frozen=True):
    """An input as a list of parts; it must have one part, a text."""

    content: Annotated[list[Content], bound("one")]


class _Embed(msgspec.Struct, frozen=True, kw_only=True):
    """Options of an input: `truncate` is the side to remove tokens from, `max_tokens` the number of tokens to keep."""

    model: str | None = None
    input_type: Annotated[str, bound("input_type")] | None = None
    embedding_types: Annotated[list[EncodingFormat], bound("some")] | None = None
    output_dimension: Dimensions | None = None
    truncate: CohereSide | None = None
    max_tokens: Annotated[int, bound("kept")] | None = None


class EmbedTextsRequest(_Embed, frozen=True, kw_only=True):
    """Texts to be embedded."""

    texts: Texts


class EmbedInputsRequest(_Embed, frozen=True, kw_only=True):
    """Inputs to be embedded, each a text."""

    inputs: Annotated[list[Mixed], bound("texts")]


class EmbeddingsByType(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Embeddings in the order of the texts, for each requested type; base64 is of little-endian float32."""

    floats: list[list[float]] | None = msgspec.field(name="float", default=None)
    int8: list[list[int]] | None = None
    uint8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class EmbedFloatsResponse(msgspec.Struct, frozen=True):
    """Cohere's response at /v1/embed if no types were requested."""

    id: str
    texts: list[str]
    embeddings: list[list[float]]
    meta: Meta
    response_type: Literal["embeddings_floats"] = "embeddings_floats"


class EmbedByTypeResponse(msgspec.Struct, frozen=True):
    """Cohere's response."""

    id: str
    embeddings: EmbeddingsByType
    texts: list[str]
    meta: Meta
    response_type: Literal["embeddings_by_type"] = "embeddings_by_type"


_TEXTS = msgspec.json.Decoder(EmbedTextsRequest)
_INPUTS = msgspec.json.Decoder(EmbedInputsRequest)


async def embed_v2(service: Service, call: Call, body: Body) -> Reply:
    """Embeddings in the order of the texts, always normalized before they are quantized."""
    request, texts, param = await _read(body)
    vectors = await _embed(service, call, request, texts, param)
    return Reply(_by_type(service.server.ids, vectors, request.embedding_types or ["float"], texts, _meta(call, "2")))


async def embed_v1(service: Service, call: Call, body: Body) -> Reply:
    """The older response format: lists of numbers without `embedding_types`."""
    _refuse_images(body)
    request = await read(body, _TEXTS, decisions.COHERE_EMBED_V1)
    vectors = await _embed(service, call, request, request.texts, "texts")
    meta = _meta(call, "1")
    if request.embedding_types is None:
        return Reply(
            EmbedFloatsResponse(service.server.ids.new(), request.texts, [floats(row) for row in vectors], meta)
        )
    return Reply(_by_type(service.server.ids, vectors, request.embedding_types, request.texts, meta))


async def rerank_v2(service: Service, call: Call, body: Body) -> Reply:
    """Documents, the best first, without their texts unless `return_documents` is true."""
    return await rank_documents(service, call, body, returns_documents=False)


async def _read(body: Body) -> tuple[EmbedTextsRequest | EmbedInputsRequest, list[str], str]:
    """The request, its texts, and their field. Raises InputError for anything but text."""
    _refuse_images(body)
    if body.fields.keys() & {"texts", "inputs"} != {"inputs"}:
        request = await read(body, _TEXTS, decisions.COHERE_EMBED)
        return request, request.texts, "texts"
    parts = await read(body, _INPUTS, decisions.COHERE_EMBED)
    for i, item in enumerate(parts.inputs):
        if len(item.content) != 1:
            name = f"inputs[{i}].content"
            raise InputError(f"{name} has {len(item.content)} parts; it must have one, a text", param=name)
    return parts, [item.content[0].text for item in parts.inputs], "inputs"


async def _embed(
    service: Service, call: Call, request: EmbedTextsRequest | EmbedInputsRequest, texts: list[str], param: str
) -> Vectors:
    if request.embedding_types == []:
        raise EmptyInputError("embedding_types is an empty list", param="embedding_types")
    check_embedding(service, request.output_dimension)
    texts = as_texts(texts, service.server.limits, param)
    prompt = service.model.prompts.for_input_type(request.input_type)
    truncation = cohere_truncation_options(service, request.truncate, request.max_tokens)
    tokenization = tokenize_texts(service, texts, truncation, prompt=prompt, param=param)
    return await embed(service, call, tokenization, dimensions=request.output_dimension)


def _refuse_images(body: Body) -> None:
    if bytes(body.fields.get("images", b"[]")) != b"[]":
        raise InputError("images is set; this model reads text only", param="images", hint="send texts")


def _by_type(
    ids: RequestIds, vectors: Vectors, types: list[EncodingFormat], texts: list[str], meta: Meta
) -> EmbedByTypeResponse:
    rows: dict[str, Any] = {"floats" if name == "float" else name: written(vectors, name) for name in types}
    return EmbedByTypeResponse(ids.new(), EmbeddingsByType(**rows), texts, meta)


def _meta(call: Call, version: str) -> Meta:
    return Meta(BilledUnits(input_tokens=call.measured.num_tokens), ApiVersion(version))
