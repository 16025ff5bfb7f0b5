"""The ROUTES table: every path, its handler, and its description for the OpenAPI document."""

from collections.abc import Sequence as Items
from dataclasses import replace
from typing import Any

from openbei.api.default_route import DEFAULT_PATHS, default
from openbei.api.dialects import bei, cohere, jina, openai, ranking, vertex, vllm
from openbei.api.dialects.tei import embed, info, predict, rank, similarity, tokens
from openbei.api.operations.token_vectors import Matrix
from openbei.api.pages import docs_page, health, index, openapi
from openbei.api.pages.groups import applies
from openbei.api.service import Handler, Route, Service
from openbei.api.shared_paths import classify, root, united
from openbei.errors import ConfigError
from openbei.serving.library import Token
from openbei.serving.loaded_model import LoadedModel
from openbei.tasks.classify import Label
from openbei.tasks.tokens import Entity

_TEXTS = (400, 408, 413, 415, 422)
"""Error statuses of requests that do not use the engine."""

_INFERENCE = (*_TEXTS, 424, 429, 500, 503)

_LABELS = (list[Label], list[list[Label]])
_EMBEDDINGS = (
    openai.embeddings,
    "Embed texts",
    openai.EmbeddingsRequest,
    openai.EmbeddingsResponse,
    _INFERENCE,
)
_SCORE = (
    vllm.score,
    "Score pairs of texts",
    (vllm.ScoreTextsRequest, vllm.ScoreQueriesRequest, vllm.ScoreDataRequest),
    vllm.ScoreResponse,
    _INFERENCE,
)
_CLASSIFY = (
    classify,
    "Classify texts",
    (vllm.ClassifyRequest, predict.PredictRequest),
    (vllm.ClassifyResponse, *_LABELS),
    _INFERENCE,
)
_RERANK = (ranking.RerankRequest, ranking.RerankResponse, _INFERENCE)

OPENAI: tuple[Route, ...] = (
    Route("POST", "/v1/embeddings", *_EMBEDDINGS),
    Route("POST", "/embeddings", *_EMBEDDINGS),
    Route(
        "POST",
        "/v1/multi-vector",
        jina.multi_vector,
        "Embed each token",
        jina.MultiVectorRequest,
        jina.MultiVectorResponse,
        _INFERENCE,
    ),
    Route("POST", "/v1/rerank", jina.rerank, "Sort documents by relevance", *_RERANK),
    Route("POST", "/v1/score", *_SCORE),
    Route("POST", "/score", *_SCORE),
    Route("POST", "/v1/classify", *_CLASSIFY),
    Route("POST", "/classify", *_CLASSIFY),
)
"""For clients of OpenAI, Jina and vLLM."""

COHERE: tuple[Route, ...] = (
    Route("POST", "/v2/rerank", cohere.rerank_v2, "Sort documents by relevance", *_RERANK, "cohere"),
    Route(
        "POST",
        "/v1/embed",
        cohere.embed_v1,
        "Embed texts, as numbers or in several types at once",
        cohere.EmbedTextsRequest,
        (cohere.EmbedFloatsResponse, cohere.EmbedByTypeResponse),
        _INFERENCE,
        "cohere",
    ),
    Route(
        "POST",
        "/v2/embed",
        cohere.embed_v2,
        "Embed texts, in several types at once",
        (cohere.EmbedTextsRequest, cohere.EmbedInputsRequest),
        cohere.EmbedByTypeResponse,
        _INFERENCE,
        "cohere",
    ),
)
"""For clients of Cohere."""

_RANKED = ((rank.RankRequest, ranking.RerankRequest), (list[rank.Rank], ranking.RerankResponse))


def _tei(
    path: str,
    handler: Handler,
    summary: str,
    request: object,
    response: object,
    failures: tuple[int, ...] = _INFERENCE,
) -> Route:
    return Route("POST", path, handler, summary, request, response, failures, "tei")


TEI: tuple[Route, ...] = (
    _tei("/rerank", rank.rerank, "Score texts for a query", *_RANKED),
    _tei("/predict", predict.predict, "Classify texts or pairs of texts", predict.PredictRequest, _LABELS),
    _tei(
        "/predict_tokens",
        bei.predict_tokens,
        "Classify tokens, or find named entities",
        bei.PredictTokensRequest,
        list[list[Entity]],
    ),
    _tei("/embed", embed.embed, "Embed texts", embed.EmbedRequest, list[list[float]]),
    _tei("/embed_all", embed.embed_all, "Embed each token", embed.EmbedAllRequest, list[Matrix]),
    _tei("/embed_sparse", embed.embed_sparse, "Weigh terms", embed.EmbedSparseRequest, list[list[embed.Term]]),
    _tei("/similarity", similarity.similarity, "Compare texts", similarity.SimilarityRequest, list[float]),
    _tei("/vertex", vertex.vertex, "Requests of Vertex AI", vertex.VertexRequest, vertex.VertexResponse),
    Route(
        "POST",
        "/tokenize",
        tokens.tokenize,
        "Tokens of texts",
        tokens.TokenizeRequest,
        list[list[Token]],
        _TEXTS,
        "tei",
    ),
    Route("POST", "/decode", tokens.decode, "Texts of token ids", tokens.DecodeRequest, list[str], _TEXTS, "tei"),
)
"""For clients of text-embeddings-inference and BEI."""

_HEALTH: tuple[Any, ...] = (health.health, "200 when the engine answers", None, None, (503,), "tei", "health")

_INFO = (info.Info, info.ServerInfo)

ABOUT: tuple[Route, ...] = (
    Route(
        "GET", "/info", info.info, "The models and their limits", response=(info.Info, info.ServerInfo), dialect="tei"
    ),
    Route("GET", "/v1/models", openai.models, "The models that are served", response=openai.Models),
    Route("GET", "/health", *_HEALTH),
    Route("GET", "/ping", *_HEALTH),
    Route("GET", "/readyz", health.ready, "200 unless it shuts down", None, None, (503,), "tei", "health"),
    Route("GET", "/livez", health.live, "200 unless it must be restarted", None, None, (503,), "tei", "health"),
    Route("GET", "/metrics", index.metrics, "Prometheus metrics", access="metrics", content_type="text/plain"),
    Route("GET", "/openapi.json", openapi.describe, "This description", response=dict, access="open"),
    Route("GET", "/api-doc/openapi.json", openapi.describe, "This description", response=dict, access="open"),
    Route("GET", "/docs", docs_page.docs, "This description, to read", access="open", content_type="text/html"),
    Route("GET", "/", index.index, "What is served here", response=index.Index, access="health"),
)

ROUTES: tuple[Route, ...] = (*OPENAI, *COHERE, *TEI, *ABOUT)


def served(models: Items[LoadedModel]) -> tuple[Route, ...]:
    """The table for models. Raises ConfigError if a default route does not exist."""
    routes = {route.path: route for route in ROUTES if route.method == "POST"}
    for model in models:
        if (path := model.manifest.default_route) not in routes:
            raise ConfigError(f"webserver_default_route is {path}, the routes are {', '.join(routes)}")
    defaults = [routes[model.manifest.default_route] for model in models]
    requests, responses = united(defaults)
    whole = replace(defaults[0], handler=default, request=requests, response=responses)
    requests, responses = united(defaults, [model.task for model in models])
    at_root = replace(whole, path="/", handler=root, request=requests, response=responses)
    about = (
        Route("GET", f"/v1/models/{model.name}", openai.model, "A model that is served", response=openai.Model)
        for model in models
    )
    return (*ROUTES, *(replace(whole, path=path) for path in DEFAULT_PATHS), at_root, *about)


def candidates(route: Route, services: tuple[Service, ...]) -> tuple[Service, ...]:
    """The services that answer a route if a request does not name a model.

    GET routes are about the server, and the paths of the default route are the first model's.
    """
    if route.method != "POST" or route.path in ("/", *DEFAULT_PATHS):
        return services[:1]
    return tuple(service for service in services if applies(route, service.model.manifest))
