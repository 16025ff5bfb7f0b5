"""The methods of `Model` that each task supports, and the types of their results."""

from dataclasses import dataclass
from typing import NamedTuple

from openbei.batch import Vectors
from openbei.engine_dir import Manifest
from openbei.errors import WrongTaskError
from openbei.spec import Task

METHODS: dict[Task, tuple[str, ...]] = {
    "embedding": ("embed", "embed_query", "embed_documents", "embed_chunks", "token_embeddings"),
    "reranker": ("rerank", "score", "classify"),
    "classifier": ("classify",),
    "token_classifier": ("entities",),
    "sparse": ("sparse",),
    "late_interaction": ("token_embeddings", "rerank", "score"),
}
"""Task -> the methods that it supports."""


class EmbeddedChunk(NamedTuple):
    """Embeddings float32 [n, D] of consecutive texts, their tokens, and the number of texts that were truncated."""

    vectors: Vectors
    num_tokens: int
    num_truncated: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document, its index among the documents, and its relevance."""

    index: int
    score: float
    document: str


def methods_of(manifest: Manifest) -> tuple[str, ...]:
    """The methods that a model supports."""
    methods = METHODS[manifest.spec.task]
    if manifest.has_unsupported_template:
        return METHODS["classifier"]
    if manifest.is_reranker and manifest.spec.task != "reranker":
        return ("rerank", "score", *methods)
    return methods


def require(manifest: Manifest, method: str) -> None:
    """Raise WrongTaskError unless a model supports a method."""
    methods = methods_of(manifest)
    if method not in methods:
        task = manifest.spec.task.replace("_", " ")
        raise WrongTaskError(
            f"{manifest.model_name} has the task {task}; it does not support {method}", hint=f"use {', '.join(methods)}"
        )
