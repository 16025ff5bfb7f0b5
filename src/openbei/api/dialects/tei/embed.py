"""TEI's embeddings of inputs and of their tokens, and term weights: bare arrays in the order of the inputs."""

from typing import Literal, cast

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.encoding import floats
from openbei.api.fields import Dimensions, Inputs, PromptName, TruncationFields
from openbei.api.operations.embedding import check_embedding
from openbei.api.operations.embedding import embed as embed_inputs
from openbei.api.operations.inputs import named_prompt, tokenize_inputs
from openbei.api.operations.token_vectors import EmbedDType, Side, embed_tokens, encoder
from openbei.api.operations.truncation import truncation_options
from openbei.api.operations.wrong_task import require_sparse
from openbei.api.pipeline import Tokenization, read, run
from openbei.api.service import Service
from openbei.batch import Sequence, SparseVectors, Vectors
from openbei.tasks.finite import check_finite
from openbei.tasks.sparse import terms


class _InputsRequest(TruncationFields, frozen=True, kw_only=True):
    """`inputs` is a text, a list of texts, a list of token ids, or a list of such lists."""

    inputs: Inputs
    prompt_name: PromptName | None = None


class EmbedAllRequest(_InputsRequest, frozen=True, kw_only=True):
    """Inputs whose tokens get a vector each. `input_type` says what they are for; late interaction needs it.

    `encoding_format` base64 writes the vectors of an input as one string, of numbers in `embed_dtype`.
    """

    input_type: Side | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embed_dtype: EmbedDType | None = None


class EmbedRequest(_InputsRequest, frozen=True, kw_only=True):
    """A request for embeddings. They are truncated to `dimensions`, then normalized unless `normalize` is false."""

    normalize: bool | None = None
    dimensions: Dimensions | None = None


class EmbedSparseRequest(_InputsRequest, frozen=True, kw_only=True):
    """Inputs of a SPLADE model."""


class Term(msgspec.Struct, frozen=True):
    """A word of the vocabulary, by its token id, and its weight."""

    index: int
    value: float


_EMBED = msgspec.json.Decoder(EmbedRequest)
_EMBED_ALL = msgspec.json.Decoder(EmbedAllRequest)
_EMBED_SPARSE = msgspec.json.Decoder(EmbedSparseRequest)


async def embed(service: Service, call: Call, body: Body) -> Reply:
    """An embedding for each input."""
    request = await read(body, _EMBED, decisions.EMBED)
    truncation, prompt = truncation_options(service, request), named_prompt(service, request.prompt_name)
    check_embedding(service, request.dimensions)
    tokenization = tokenize_inputs(service, request.inputs, truncation, prompt=prompt, param="inputs")
    normalize = request.normalize is not False
    vectors = await embed_inputs(service, call, tokenization, dimensions=request.dimensions, normalize=normalize)
    return Reply([floats(row) for row in vectors])


async def embed_all(service: Service, call: Call, body: Body) -> Reply:
    """The vectors of each input's tokens. Those of an embedding model are neither pooled nor normalized."""
    request = await read(body, _EMBED_ALL, decisions.EMBED_ALL)
    matrices = await embed_tokens(
        service,
        call,
        request.inputs,
        truncation_options(service, request),
        side=request.input_type,
        prompt_name=request.prompt_name,
        encode=encoder(request.encoding_format, request.embed_dtype),
        param="inputs",
    )
    return Reply(matrices)


async def embed_sparse(service: Service, call: Call, body: Body) -> Reply:
    """For each input, the words of the vocabulary with a non-zero weight."""
    request = await read(body, _EMBED_SPARSE, decisions.EMBED_SPARSE)
    require_sparse(service.model.manifest)
    manifest = service.model.manifest

    def finish(rows: Vectors, _: list[Sequence]) -> list[list[Term]]:
        weights = cast(SparseVectors, rows)
        check_finite(weights.values)
        kept = terms(weights, max_terms=manifest.max_terms, double_log=manifest.double_log)
        return [[Term(index, value) for index, value in row] for row in kept]

    return Reply(await run(service, call, _tokenization(service, request), finish))


def _tokenization(service: Service, request: _InputsRequest) -> Tokenization:
    truncation, prompt = truncation_options(service, request), named_prompt(service, request.prompt_name)
    return tokenize_inputs(service, request.inputs, truncation, prompt=prompt, param="inputs")
