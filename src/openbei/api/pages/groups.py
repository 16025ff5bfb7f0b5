"""The groups of routes in the OpenAPI document and at /docs, and which of them apply to a model."""

from collections.abc import Callable

from openbei.api.operations.wrong_task import (
    require_classifier,
    require_embedding,
    require_reranker,
    require_sparse,
    require_token_classifier,
    require_token_vectors,
)
from openbei.api.service import Route
from openbei.engine_dir import Manifest
from openbei.errors import WrongTaskError

TAGS: dict[str, tuple[str, ...]] = {
    "Embeddings": (
        "/v1/embeddings",
        "/embeddings",
        "/embed",
        "/similarity",
        "/v2/embed",
        "/v1/embed",
    ),
    "Vectors of tokens": ("/embed_all", "/v1/multi-vector"),
    "Reranking": ("/rerank", "/v1/rerank", "/v2/rerank", "/v1/score", "/score"),
    "Classification": ("/predict", "/v1/classify", "/classify"),
    "Named entities": ("/predict_tokens",),
    "Sparse embeddings": ("/embed_sparse",),
    "Tokens": ("/tokenize", "/decode"),
    "Platforms": ("/vertex", "/invocations", "/v1/models/model:predict"),
}
"""Tag -> paths of POST routes. POST / is also used by hosting platforms. GET routes are about the server."""

REQUIREMENTS: dict[str, Callable[[Manifest], None]] = {
    "Embeddings": require_embedding,
    "Vectors of tokens": require_token_vectors,
    "Reranking": require_reranker,
    "Classification": require_classifier,
    "Named entities": require_token_classifier,
    "Sparse embeddings": require_sparse,
}
"""Tag -> a check that raises WrongTaskError if the model does not support the routes; others support every model."""

SERVER, PLATFORMS = "Server", "Platforms"


def task_of(manifest: Manifest) -> str:
    """The task of a model in words."""
    return manifest.main_task.replace("_", " ")


def tag_of(route: Route) -> str:
    """The group that a route is listed in."""
    if route.method == "GET":
        return SERVER
    return next((tag for tag, paths in TAGS.items() if route.path in paths), PLATFORMS)


def applies(route: Route, manifest: Manifest) -> bool:
    """Whether a model supports a route, instead of refusing every request with 424."""
    require = REQUIREMENTS.get(tag_of(route))
    if require is None or (route.path.endswith("/score") and manifest.spec.task == "embedding"):
        return True
    try:
        require(manifest)
    except WrongTaskError:
        return False
    return True
