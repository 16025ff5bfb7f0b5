"""Cohere's embeddings."""

from typing import Annotated, Literal

import msgspec

from openbei.api.wire.fields import Dimensions, Text, Texts, bound
from openbei.api.wire.ranking import Meta

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]


class Content(msgspec.Struct, frozen=True):
    """A part of an input; only text can be read."""

    type: Literal["text"]
    text: Text


class Mixed(msgspec.Struct, frozen=True):
    """An input of parts: one, a text."""

    content: Annotated[list[Content], bound("one")]


class _Embed(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of each input; `truncate` says which side is cut off, `max_tokens` how many are kept."""

    model: str | None = None
    input_type: Annotated[str, bound("input_type")] | None = None
    embedding_types: Annotated[list[EmbeddingType], bound("some")] | None = None
    output_dimension: Dimensions | None = None
    truncate: Literal["NONE", "START", "END"] | None = None
    max_tokens: Annotated[int, bound("kept")] | None = None


class EmbedTextsRequest(_Embed, frozen=True, kw_only=True):
    """Texts to be embedded."""

    texts: Texts


class EmbedInputsRequest(_Embed, frozen=True, kw_only=True):
    """Inputs to be embedded, each a text."""

    inputs: Annotated[list[Mixed], bound("texts")]


class EmbeddingsByType(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Embeddings in the order of the texts, for each type that was asked for; base64 is of little-endian float32."""

    floats: list[list[float]] | None = msgspec.field(name="float", default=None)
    int8: list[list[int]] | None = None
    uint8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None
    base64: list[str] | None = None


class EmbedFloatsResponse(msgspec.Struct, frozen=True):
    """Cohere's response at /v1/embed where no types were asked for."""

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
