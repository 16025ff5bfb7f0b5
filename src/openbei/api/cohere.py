"""POST /v2/embed and /v1/embed: Cohere's embeddings, each in all the types that were asked for."""

import uuid
from typing import Any

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.embeddings import written
from openbei.api.encoding import floats
from openbei.api.inference import Body, body, infer_dense
from openbei.api.inputs import as_texts, tokenize_texts
from openbei.api.service import Service
from openbei.api.truncation import how_cohere_cuts
from openbei.api.wire import decisions
from openbei.api.wire.cohere import (
    EmbedByTypeResponse,
    EmbeddingsByType,
    EmbeddingType,
    EmbedFloatsResponse,
    EmbedInputsRequest,
    EmbedTextsRequest,
)
from openbei.api.wire.ranking import ApiVersion, BilledUnits, Meta
from openbei.api.wrong_task import require_embedding
from openbei.batch import Vectors
from openbei.errors import EmptyInputError, InputError
from openbei.tasks.embed import check_dimensions, to_embeddings

_TEXTS = msgspec.json.Decoder(EmbedTextsRequest)
_INPUTS = msgspec.json.Decoder(EmbedInputsRequest)


async def embed(service: Service, call: Call) -> Reply:
    """Embeddings in the order of the texts, always normalized before they are quantized."""
    request, texts, param = await _request(await body(service, call))
    vectors = await _vectors(service, call, request, texts, param)
    return Reply(_by_type(vectors, request.embedding_types or ["float"], texts, _meta(call, "2")))


async def embed_v1(service: Service, call: Call) -> Reply:
    """The same in the older shape: without `embedding_types` plain lists of numbers."""
    content = await body(service, call)
    _refuse_images(content)
    request = await content.decode(_TEXTS, decisions.COHERE_EMBED_V1)
    vectors = await _vectors(service, call, request, request.texts, "texts")
    meta = _meta(call, "1")
    if request.embedding_types is None:
        return Reply(EmbedFloatsResponse(uuid.uuid4().hex, request.texts, [floats(row) for row in vectors], meta))
    return Reply(_by_type(vectors, request.embedding_types, request.texts, meta))


async def _vectors(
    service: Service, call: Call, request: EmbedTextsRequest | EmbedInputsRequest, texts: list[str], param: str
) -> Vectors:
    manifest = service.manifest
    if request.embedding_types == []:
        raise EmptyInputError("embedding_types is an empty list", param="embedding_types")
    require_embedding(manifest)
    check_dimensions(request.output_dimension, manifest.spec.output_width)
    texts = as_texts(texts, service.limits, param)
    prompt = manifest.prompts.for_input_type(request.input_type)
    how = how_cohere_cuts(service, request.truncate, request.max_tokens)
    sequences = await tokenize_texts(service, call, texts, how, prompt=prompt, param=param)
    dimensions = request.output_dimension or manifest.dimensions
    return to_embeddings(await infer_dense(service, call, sequences), normalize=True, dimensions=dimensions)


async def _request(content: Body) -> tuple[EmbedTextsRequest | EmbedInputsRequest, list[str], str]:
    """The request, its texts, and the field that they came in. Raises InputError for anything but text."""
    _refuse_images(content)
    if content.given.keys() & {"texts", "inputs"} != {"inputs"}:
        request = await content.decode(_TEXTS, decisions.COHERE_EMBED)
        return request, request.texts, "texts"
    parts = await content.decode(_INPUTS, decisions.COHERE_EMBED)
    for i, item in enumerate(parts.inputs):
        if len(item.content) != 1:
            name = f"inputs[{i}].content"
            raise InputError(f"{name} has {len(item.content)} parts, it can have one text", param=name)
    return parts, [item.content[0].text for item in parts.inputs], "inputs"


def _refuse_images(content: Body) -> None:
    if bytes(content.given.get("images", b"[]")) != b"[]":
        raise InputError("images is given; this model reads text only", param="images", hint="send texts")


def _by_type(vectors: Vectors, types: list[EmbeddingType], texts: list[str], meta: Meta) -> EmbedByTypeResponse:
    rows: dict[str, Any] = {"floats" if name == "float" else name: written(vectors, name) for name in types}
    return EmbedByTypeResponse(uuid.uuid4().hex, EmbeddingsByType(**rows), texts, meta)


def _meta(call: Call, version: str) -> Meta:
    return Meta(BilledUnits(input_tokens=call.measured.num_tokens), ApiVersion(version))
