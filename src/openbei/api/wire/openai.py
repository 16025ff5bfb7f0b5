"""OpenAI's embeddings and models, and the index."""

from typing import Annotated, Literal

import msgspec

from openbei.api.wire.fields import Cut, Dimensions, Inputs, PromptName, Usage, bound

EncodingFormat = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]


class EmbeddingsRequest(Cut, frozen=True, kw_only=True):
    """OpenAI's request. `input` is a text, a list of texts, a list of token ids, or a list of such lists.

    `dimensions` cuts embeddings, which are then normalized again. `prompt_name` is one of the model's prompts; Jina's
    `task` and others' `input_type` choose one by what embeddings are for. `normalize`, vLLM's `use_activation` and
    Jina's `normalized` leave lengths as they are where one is false. `embedding_type` is Jina's `encoding_format`.
    `model` and `user` change nothing.
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
    """One embedding: numbers, or base64 of little-endian float32. `index` is the place of its input."""

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
    """The one model that is served."""

    data: list[Model]
    object: Literal["list"] = "list"


class Index(msgspec.Struct, frozen=True):
    """What answers here, and at which routes."""

    name: str
    version: str
    model: str
    routes: list[str]
