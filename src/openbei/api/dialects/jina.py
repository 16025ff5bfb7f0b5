"""Jina's reranker and vectors of tokens. Its embeddings are OpenAI's with more fields, its classifier is vLLM's."""

from typing import Literal

import msgspec

from openbei.api.dialects import decisions
from openbei.api.dialects.ranking import rank_documents
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.fields import Dimensions, Inputs, PromptName, TruncationFields, Usage, usage
from openbei.api.operations.token_vectors import EmbedDType, Matrix, Side, embed_tokens, encoder
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import read
from openbei.api.service import Service


class MultiVectorRequest(TruncationFields, frozen=True, kw_only=True):
    """Texts whose tokens get a vector each. `input_type` says what the texts are for, by default documents.

    `dimensions` truncates vectors, which are then normalized again. `encoding_format` base64 writes the vectors of a
    text as one string, of numbers in `embed_dtype`; `embedding_type` is its older name.
    """

    input: Inputs
    model: str | None = None
    input_type: Side | None = None
    prompt_name: PromptName | None = None
    dimensions: Dimensions | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embedding_type: Literal["float", "base64"] | None = None
    embed_dtype: EmbedDType | None = None


class MultiVector(msgspec.Struct, frozen=True):
    """The vectors of one text: rows of numbers, or base64 of all rows. `index` is the position of its input."""

    embeddings: Matrix
    index: int
    object: Literal["embeddings"] = "embeddings"


class MultiVectorResponse(msgspec.Struct, frozen=True):
    """Jina's response; `model` is the served name."""

    data: list[MultiVector]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


_DECODER = msgspec.json.Decoder(MultiVectorRequest)


async def rerank(service: Service, call: Call, body: Body) -> Reply:
    """Documents, the best first, with their texts unless `return_documents` is false."""
    return await rank_documents(service, call, body, returns_documents=True)


async def multi_vector(service: Service, call: Call, body: Body) -> Reply:
    """The vectors of each text's tokens, in the order of the inputs."""
    request = await read(body, _DECODER, decisions.MULTI_VECTOR)
    matrices = await embed_tokens(
        service,
        call,
        request.input,
        truncation_options(service, request),
        side=request.input_type,
        prompt_name=request.prompt_name,
        dimensions=request.dimensions,
        encode=encoder(request.encoding_format or request.embedding_type, request.embed_dtype),
        param="input",
    )
    data = [MultiVector(matrix, index) for index, matrix in enumerate(matrices)]
    return Reply(MultiVectorResponse(data, service.model.name, usage(call.measured.num_tokens)))
