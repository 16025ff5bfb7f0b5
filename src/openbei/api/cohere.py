"""POST /v2/embed: Cohere's embeddings, each in all the types that were asked for."""

import uuid
from typing import Any

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.embeddings import written
from openbei.api.inference import body, infer_dense
from openbei.api.inputs import as_texts, tokenize_texts
from openbei.api.service import Service
from openbei.api.wire import decode, field_names
from openbei.api.wire.cohere import (
    EmbedByTypeResponse,
    EmbeddingsByType,
    EmbeddingType,
    EmbedInputsRequest,
    EmbedTextsRequest,
)
from openbei.api.wire.fields import How
from openbei.api.wire.ranking import BilledUnits, Meta
from openbei.api.wrong_task import require_embedding
from openbei.batch import Vectors
from openbei.errors import EmptyInputError, InputError
from openbei.tasks.embed import check_dimensions, finish

_TEXTS = msgspec.json.Decoder(EmbedTextsRequest)
_INPUTS = msgspec.json.Decoder(EmbedInputsRequest)

_CUTS: dict[str | None, How] = {
    None: {"truncate": True, "direction": None},
    "NONE": {"truncate": False, "direction": None},
    "START": {"truncate": True, "direction": "left"},
    "END": {"truncate": True, "direction": "right"},
}
"""What is cut off a text that is too long."""


async def embed(service: Service, call: Call) -> Reply:
    """Embeddings in the order of the texts, always normalized before they are quantized."""
    request, texts, param = _request(await body(service, call))
    manifest = service.manifest
    require_embedding(manifest)
    check_dimensions(request.output_dimension, manifest.spec.output_width)
    texts = as_texts(texts, service.limits, param)
    prompt = manifest.prompts.for_input_type(request.input_type)
    how = _CUTS[request.truncate]
    sequences = await tokenize_texts(service, call, texts, how, prompt=prompt, param=param)
    dimensions = request.output_dimension or manifest.dimensions
    vectors = finish(await infer_dense(service, call, sequences), normalize=True, dimensions=dimensions)
    types: list[EmbeddingType] = request.embedding_types or ["float"]
    meta = Meta(BilledUnits(input_tokens=call.measured.num_tokens))
    return Reply(EmbedByTypeResponse(uuid.uuid4().hex, _by_type(vectors, types), texts, meta))


def _request(content: bytes) -> tuple[EmbedTextsRequest | EmbedInputsRequest, list[str], str]:
    """The request, its texts, and the field that they came in. Raises InputError for anything but text."""
    names = field_names(content)
    if "images" in names:
        raise InputError("images is given; this model reads text only", param="images")
    request: EmbedTextsRequest | EmbedInputsRequest
    if names & {"texts", "inputs"} == {"inputs"}:
        request = decode(content, _INPUTS)
        for i, item in enumerate(request.inputs):
            if len(item.content) != 1:
                name = f"inputs[{i}].content"
                raise InputError(f"{name} has {len(item.content)} parts, it can have one text", param=name)
        texts, param = [item.content[0].text for item in request.inputs], "inputs"
    else:
        request = decode(content, _TEXTS)
        texts, param = request.texts, "texts"
    if request.embedding_types == []:
        raise EmptyInputError("embedding_types is an empty list", param="embedding_types")
    return request, texts, param


def _by_type(vectors: Vectors, types: list[EmbeddingType]) -> EmbeddingsByType:
    rows: dict[str, Any] = {"floats" if name == "float" else name: written(vectors, name) for name in types}
    return EmbeddingsByType(**rows)
