"""OpenAI's embeddings and list of models. Embeddings are normalized unless fields of vLLM or Jina disable it."""

from typing import Annotated, Literal, NamedTuple

import msgspec

from openbei.api.dialects import decisions
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.decoding import Fields
from openbei.api.exchange.paths import without_prefix
from openbei.api.fields import Dimensions, Inputs, PromptName, TruncationFields, Usage, bound, usage
from openbei.api.operations.embedding import EncodingFormat, check_embedding, embed, written
from openbei.api.operations.inputs import Prompt, tokenize_inputs
from openbei.api.operations.truncation import truncation_options
from openbei.api.pipeline import Tokenization, read
from openbei.api.service import Context, Service
from openbei.batch import Vectors
from openbei.errors import InputError


class EmbeddingsRequest(TruncationFields, frozen=True, kw_only=True):
    """OpenAI's request. `input` is a text, a list of texts, a list of token ids, or a list of such lists.

    `dimensions` truncates embeddings, which are then normalized again. `prompt_name` is one of the model's prompts;
    Jina's `task` and the `input_type` of other APIs select a prompt by the purpose of the embeddings. Embeddings are
    not normalized if `normalize`, vLLM's `use_activation` or Jina's `normalized` is false. `embedding_type` is Jina's
    `encoding_format`. `model` selects one of several models; `user` has no effect.
    """

    input: Inputs
    model: str | None = None
    encoding_format: EncodingFormat | None = None
    dimensions: Dimensions | None = None
    prompt_name: PromptName | None = None
    user: str | None = None
    task: Annotated[str, bound("task")] | None = None
    input_type: Annotated[str, bound("task")] | None = None
    normalize: bool | None = None
    normalized: bool | None = None
    use_activation: bool | None = None
    embedding_type: EncodingFormat | Annotated[list[EncodingFormat], bound("at_most_one")] | None = None


class Embedding(msgspec.Struct, frozen=True):
    """One embedding: numbers, or base64 of little-endian float32. `index` is the position of its input."""

    embedding: list[float] | str
    index: int
    object: Literal["embedding"] = "embedding"


class EmbeddingsResponse(msgspec.Struct, frozen=True):
    """OpenAI's response; `model` is the served name."""

    data: list[Embedding]
    model: str
    usage: Usage
    object: Literal["list"] = "list"


class Model(msgspec.Struct, frozen=True):
    """A model that is served; `created` is the server's start in Unix seconds."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "openbei"


class Models(msgspec.Struct, frozen=True):
    """The models that are served."""

    data: list[Model]
    object: Literal["list"] = "list"


DECODER = msgspec.json.Decoder(EmbeddingsRequest)

PROMPTS = ("prompt_name", "task", "input_type")
"""Fields that select a prompt."""


class Work(NamedTuple):
    """What a request needs: its sequences, and how the engine's rows become its embeddings."""

    tokenization: Tokenization
    encoding: EncodingFormat
    dimensions: int | None
    normalize: bool

    def response(self, vectors: Vectors, model_name: str, num_tokens: int) -> EmbeddingsResponse:
        """The response with embeddings float32 [inputs, dimensions]. Raises InputError."""
        data = [Embedding(row, index) for index, row in enumerate(written(vectors, self.encoding))]
        return EmbeddingsResponse(data, model_name, usage(num_tokens))


async def embeddings(service: Service, call: Call, body: Body) -> Reply:
    """Embeddings in the order of the inputs."""
    work = work_of(service, await read(body, DECODER, decisions.EMBEDDINGS), body.fields)
    vectors = await embed(service, call, work.tokenization, dimensions=work.dimensions, normalize=work.normalize)
    answer = work.response(vectors, service.model.name, call.measured.num_tokens)
    return Reply(answer, is_dense=work.encoding == "base64")


def work_of(service: Context, request: EmbeddingsRequest, fields: Fields) -> Work:
    """The work of a request with these fields. Raises WrongTaskError, EmptyInputError and InputError."""
    encoding, truncation, prompt = _encoding(request), truncation_options(service, request), _prompt(service, request)
    dimensions = None if _is_infinity(fields) and request.dimensions == 0 else request.dimensions
    check_embedding(service, dimensions)
    tokenization = tokenize_inputs(service, request.input, truncation, prompt=prompt, param="input")
    normalize = False not in (request.normalize, request.normalized, request.use_activation)
    return Work(tokenization, encoding, dimensions, normalize)


async def models(service: Service, call: Call, body: Body) -> Reply:
    """The list of models."""
    return Reply(Models([Model(name, service.server.created) for name in service.server.services]))


async def model(service: Service, call: Call, body: Body) -> Reply:
    """The model of the path."""
    return Reply(Model(without_prefix(call.path).removeprefix("/v1/models/"), service.server.created))


def _is_infinity(fields: Fields) -> bool:
    """Whether the request is from a client of Infinity. Its default of `dimensions` is 0, for all dimensions."""
    return "modality" in fields


def _encoding(request: EmbeddingsRequest) -> EncodingFormat:
    """The format in `encoding_format` or Jina's `embedding_type`. Raises InputError if they differ."""
    given = request.embedding_type
    types = [given] if isinstance(given, str) else given or []
    formats = {*types, *([request.encoding_format] if request.encoding_format else [])}
    if len(formats) > 1:
        raise InputError(
            f"encoding_format and embedding_type request {', '.join(sorted(formats))}; a response has one format",
            param="embedding_type",
            hint="request one format, or use /v2/embed",
        )
    return formats.pop() if formats else "float"


def _prompt(service: Context, request: EmbeddingsRequest) -> Prompt | None:
    """The requested prompt, by its name or by the purpose of the embeddings.

    Raises InputError if several fields are set.
    """
    given = {name: value for name in PROMPTS if (value := getattr(request, name)) is not None}
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} are set; each selects a prompt", param=[*given][1], hint="send one")
    for param, value in given.items():
        prompts = service.model.prompts
        return Prompt(prompts.find(value) if param == "prompt_name" else prompts.for_purpose(value, param), param)
    return None
