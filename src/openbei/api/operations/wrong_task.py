"""Checks that the served model supports a request. Errors have TEI's messages, and name the routes of the model."""

from openbei.engine_dir import Manifest
from openbei.errors import WrongTaskError
from openbei.spec import Task

RERANK = "/rerank, /v1/rerank, /v2/rerank, /score"
ANSWERS: dict[Task, str] = {
    "embedding": "/v1/embeddings, /v1/embed, /v2/embed, /embed, /embed_all, /v1/multi-vector, /similarity, /score",
    "reranker": f"{RERANK}, /predict, /classify",
    "classifier": "/predict, /classify",
    "token_classifier": "/predict_tokens",
    "sparse": "/embed_sparse",
    "late_interaction": f"/embed_all, /v1/multi-vector, {RERANK}",
}
"""Task -> the routes that it supports."""


def _wrong_task(manifest: Manifest, message: str) -> WrongTaskError:
    task = manifest.spec.task
    answers = ANSWERS[task]
    if manifest.has_unsupported_template:
        answers = "/predict, /classify"
    elif manifest.is_reranker and task != "reranker":
        answers = f"{RERANK}, {answers}"
    kind = task.replace("_", " ")
    article = "an" if kind == "embedding" else "a"
    return WrongTaskError(message, hint=f"this is {article} {kind} model; it answers {answers}")


def require_embedding(manifest: Manifest) -> None:
    """Raise WrongTaskError unless the model makes dense embeddings."""
    if manifest.spec.task != "embedding":
        raise _wrong_task(manifest, "Model is not an embedding model")


def require_token_vectors(manifest: Manifest) -> None:
    """Raise WrongTaskError unless the model has vectors of tokens."""
    if manifest.spec.task not in ("embedding", "late_interaction"):
        raise _wrong_task(manifest, "Model is not an embedding model")


def require_sparse(manifest: Manifest) -> None:
    """Raise WrongTaskError unless the model makes term weights."""
    if manifest.spec.task != "sparse":
        raise _wrong_task(manifest, "Model is not an embedding model with SPLADE pooling")


def require_reranker(manifest: Manifest) -> None:
    """Raise WrongTaskError unless the model is a reranker, or scores pairs by late interaction."""
    if manifest.has_unsupported_template:
        raise _wrong_task(
            manifest, "model is not a re-ranker model: its chat template for pairs is not one that can be followed"
        )
    if not manifest.is_reranker and manifest.late_interaction is None:
        raise _wrong_task(manifest, "model is not a re-ranker model")


def require_classifier(manifest: Manifest) -> None:
    """Raise WrongTaskError unless the model labels texts. A reranker does: it has one label."""
    if manifest.spec.task not in ("classifier", "reranker"):
        raise _wrong_task(manifest, "Model is not a classifier model")


def require_token_classifier(manifest: Manifest) -> None:
    """Raise WrongTaskError unless the model labels tokens."""
    if manifest.spec.task != "token_classifier":
        raise _wrong_task(manifest, "Model is not a token classifier model")
