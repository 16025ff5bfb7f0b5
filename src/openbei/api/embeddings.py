"""POST /v1/embeddings: OpenAI's embeddings, always normalized (as in TEI)."""

import base64
import time

import msgspec

from openbei.api.call import Call, Reply
from openbei.api.service import Limits, Service
from openbei.api.wire import Embedding, EmbeddingsRequest, EmbeddingsResponse, Usage, decode
from openbei.batch import Sequence, Vectors
from openbei.errors import EmptyInputError, InputError
from openbei.tasks.embed import check_dimensions, finish

Inputs = list[str] | list[str | int | list[int]]

DECODER = msgspec.json.Decoder(EmbeddingsRequest)


async def embed(service: Service, call: Call) -> Reply:
    """Answer one request."""
    metrics = service.metrics
    arrival_s = time.monotonic()
    request = decode(await call.body(service.limits.max_body_bytes), DECODER)
    check_dimensions(request.dimensions, service.hidden_size)
    call.check_deadline()
    inputs: Inputs = [request.input] if isinstance(request.input, str) else request.input
    method = "single" if len(inputs) == 1 else "batch"
    metrics.request_count.labels(method).inc()

    sequences = await _tokenize(service, inputs)
    num_truncated = sum(sequence.is_truncated for sequence in sequences)
    vectors = await call.result(service.scheduler.submit(sequences))
    body = _response(service.model_name, request, sequences, vectors)

    metrics.request_success.labels(method).inc()
    metrics.embed_success.inc(len(sequences))
    metrics.request_duration_s.observe(time.monotonic() - arrival_s)
    if not num_truncated:
        return Reply(body)
    metrics.truncated_inputs.inc(num_truncated)
    return Reply(body, headers=((b"x-truncated-inputs", str(num_truncated).encode()),))


async def _tokenize(service: Service, inputs: Inputs) -> list[Sequence]:
    started_s = time.monotonic()
    _check(inputs, service.limits)
    tokenizer = service.tokenizer
    texts = [item for item in inputs if isinstance(item, str)]
    ids = [item for item in inputs if isinstance(item, int)]
    if texts:
        sequences = await tokenizer.encode_async(texts)
    elif ids:
        sequences = [tokenizer.from_ids(ids)]
    else:
        lists = enumerate(item for item in inputs if isinstance(item, list))
        sequences = [tokenizer.from_ids(item, param=f"input[{i}]") for i, item in lists]
    service.metrics.tokenization_s.observe(time.monotonic() - started_s)
    service.metrics.embed_count.inc(len(sequences))
    for sequence in sequences:
        service.metrics.input_length.observe(sequence.num_tokens_given)
    return sequences


def _check(inputs: Inputs, limits: Limits) -> None:
    """Raise InputError unless `inputs` is all texts, all token ids, or all lists of token ids, and not too many."""
    kinds = set(map(type, inputs))
    if not inputs:
        raise EmptyInputError("input is an empty list", param="input")
    if len(kinds) > 1:
        raise InputError("input mixes texts, token ids and lists of token ids", param="input")
    if "" in inputs:
        param = f"input[{inputs.index('')}]" if len(inputs) > 1 else "input"
        raise InputError(f"{param} is an empty string", param=param)
    if kinds != {int} and len(inputs) > limits.max_client_batch_size:
        raise InputError(
            f"input has {len(inputs)} texts, the limit is {limits.max_client_batch_size}",
            param="input",
            hint="send them in several requests",
        )


def _response(name: str, request: EmbeddingsRequest, sequences: list[Sequence], vectors: Vectors) -> bytes:
    vectors = finish(vectors, normalize=True, dimensions=request.dimensions)
    rows: list[list[float] | str]
    if request.encoding_format == "base64":
        rows = [base64.b64encode(row.tobytes()).decode() for row in vectors.astype("<f4", copy=False)]
    else:
        rows = vectors.tolist()
    num_tokens = sum(sequence.num_tokens_given for sequence in sequences)
    data = [Embedding(row, index) for index, row in enumerate(rows)]
    return msgspec.json.encode(EmbeddingsResponse(data, name, Usage(num_tokens, num_tokens)))
