"""POST /v1/embeddings: OpenAI's embeddings, always normalized (as in TEI)."""

import base64
from typing import cast

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.encoding import floats
from openbei.api.inference import infer_dense, read
from openbei.api.inputs import Inputs, tokenize_inputs
from openbei.api.service import Service
from openbei.api.wire.fields import How, usage
from openbei.api.wire.openai import Embedding, EmbeddingsRequest, EmbeddingsResponse, EncodingFormat
from openbei.api.wrong_task import require_embedding
from openbei.batch import Vectors
from openbei.tasks.embed import check_dimensions, finish
from openbei.tasks.precision import quantize

_DECODER = msgspec.json.Decoder(EmbeddingsRequest)


async def embeddings(service: Service, call: Call) -> Reply:
    """Embeddings in the order of the inputs."""
    request = await read(service, call, _DECODER)
    vectors = await vectors_of(
        service,
        call,
        request.input,
        request.how,
        prompt_name=request.prompt_name,
        dimensions=request.dimensions,
        param="input",
    )
    rows = written(vectors, request.encoding_format or "float")
    data = [Embedding(row, index) for index, row in enumerate(rows)]
    answer = EmbeddingsResponse(data, service.manifest.model_name, usage(call.measured.num_tokens))
    return Reply(answer, is_dense=request.encoding_format == "base64")


async def vectors_of(
    service: Service,
    call: Call,
    inputs: Inputs,
    how: How,
    *,
    prompt_name: str | None,
    param: str,
    dimensions: int | None = None,
    normalize: bool = True,
) -> Vectors:
    """Embeddings float32 [inputs, dimensions]. Raises WrongTaskError, InputError, and what `infer` raises."""
    require_embedding(service.manifest)
    check_dimensions(dimensions, service.manifest.spec.output_width)
    sequences = await tokenize_inputs(service, call, inputs, how, prompt_name=prompt_name, param=param)
    rows = await infer_dense(service, call, sequences)
    return finish(rows, normalize=normalize, dimensions=dimensions or service.manifest.dimensions)


def written(vectors: Vectors, encoding: EncodingFormat) -> list[list[float] | str]:
    """Embeddings float32 [n, D] as they go over the wire. Raises InputError for bits of a D that 8 does not divide."""
    if encoding == "base64":
        return [base64.b64encode(row).decode() for row in vectors.astype("<f4", order="C", copy=False)]
    if encoding == "float":
        return [floats(row) for row in vectors]
    return cast(list[list[float] | str], quantize(vectors, encoding).tolist())
