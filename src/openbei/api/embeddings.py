"""POST /v1/embeddings: OpenAI's embeddings, normalized unless a client of vLLM or Jina says otherwise."""

import base64
from typing import cast

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.encoding import floats
from openbei.api.inference import infer_dense, read
from openbei.api.inputs import Inputs, Prompt, tokenize_inputs
from openbei.api.service import Service
from openbei.api.truncation import how_cut
from openbei.api.wire import decisions
from openbei.api.wire.fields import How, usage
from openbei.api.wire.openai import Embedding, EmbeddingsRequest, EmbeddingsResponse, EncodingFormat
from openbei.api.wrong_task import require_embedding
from openbei.batch import Vectors
from openbei.errors import InputError
from openbei.tasks.embed import check_dimensions, to_embeddings
from openbei.tasks.precision import quantize

_DECODER = msgspec.json.Decoder(EmbeddingsRequest)

PROMPTS = ("prompt_name", "task", "input_type")
"""Fields that choose a prompt."""


async def embeddings(service: Service, call: Call) -> Reply:
    """Embeddings in the order of the inputs."""
    request = await read(service, call, _DECODER, decisions.EMBEDDINGS)
    encoding = _encoding(request)
    vectors = await vectors_of(
        service,
        call,
        request.input,
        how_cut(service, request),
        prompt=_prompt(service, request),
        dimensions=request.dimensions,
        normalize=False not in (request.normalize, request.normalized, request.use_activation),
        param="input",
    )
    data = [Embedding(row, index) for index, row in enumerate(written(vectors, encoding))]
    answer = EmbeddingsResponse(data, service.manifest.model_name, usage(call.measured.num_tokens))
    return Reply(answer, is_dense=encoding == "base64")


def _encoding(request: EmbeddingsRequest) -> EncodingFormat:
    """What `encoding_format` or Jina's `embedding_type` says. Raises InputError for two of them that differ."""
    given = request.embedding_type
    types = [given] if isinstance(given, str) else given or []
    wanted = {*types, *([request.encoding_format] if request.encoding_format else [])}
    if len(wanted) > 1:
        raise InputError(
            f"embeddings are asked for as {', '.join(sorted(wanted))}, an answer has one kind",
            param="embedding_type",
            hint="ask for one, or ask /v2/embed",
        )
    return wanted.pop() if wanted else "float"


def _prompt(service: Service, request: EmbeddingsRequest) -> Prompt | None:
    """The prompt that is asked for, by its name or by what the embeddings are for. Raises InputError for two."""
    given = {name: value for name in PROMPTS if (value := getattr(request, name)) is not None}
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are given, each chooses a prompt", param=[*given][1], hint="send one")
    for param, value in given.items():
        prompts = service.manifest.prompts
        return Prompt(prompts.find(value) if param == "prompt_name" else prompts.for_purpose(value, param), param)
    return None


async def vectors_of(
    service: Service,
    call: Call,
    inputs: Inputs,
    how: How,
    *,
    prompt: Prompt | None,
    param: str,
    dimensions: int | None = None,
    normalize: bool = True,
) -> Vectors:
    """Embeddings float32 [inputs, dimensions]. Raises WrongTaskError, InputError, and what `infer` raises."""
    require_embedding(service.manifest)
    check_dimensions(dimensions, service.manifest.spec.output_width)
    sequences = await tokenize_inputs(service, call, inputs, how, prompt=prompt, param=param)
    rows = await infer_dense(service, call, sequences)
    return to_embeddings(rows, normalize=normalize, dimensions=dimensions or service.manifest.dimensions)


def written(vectors: Vectors, encoding: EncodingFormat) -> list[list[float] | str]:
    """Embeddings float32 [n, D] as they go over the wire. Raises InputError for bits of a D that 8 does not divide."""
    if encoding == "base64":
        return [base64.b64encode(row).decode() for row in vectors.astype("<f4", order="C", copy=False)]
    if encoding == "float":
        return [floats(row) for row in vectors]
    return cast(list[list[float] | str], quantize(vectors, encoding).tolist())
