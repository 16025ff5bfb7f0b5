"""The ROUTES table: every path, what answers there, and what the OpenAPI document says of it."""

from dataclasses import replace
from typing import Any

from openbei.api import (
    about,
    classify,
    cohere,
    docs_page,
    embed,
    embeddings,
    health,
    openapi,
    predict,
    predict_tokens,
    rerank,
    score,
    similarity,
    tokens,
    vertex,
)
from openbei.api.root import at_root
from openbei.api.service import Handler, Row
from openbei.api.wire import classes, openai, ranking, tei
from openbei.api.wire import cohere as cohere_wire
from openbei.engine_dir import Manifest
from openbei.errors import ConfigError
from openbei.serving.library import Token
from openbei.tasks.tokens import Entity

_TEXTS = (400, 408, 413, 415, 422)
"""What a request may be told that does not reach the engine."""

_INFERENCE = (*_TEXTS, 424, 429, 500, 503)

_LABELS = (list[tei.Label], list[list[tei.Label]])
_EMBEDDINGS = (
    embeddings.embeddings,
    "Embed texts",
    openai.EmbeddingsRequest,
    openai.EmbeddingsResponse,
    _INFERENCE,
)
_SCORE = (
    score.score,
    "Score pairs of texts",
    (ranking.ScoreTextsRequest, ranking.ScoreQueriesRequest, ranking.ScoreDataRequest),
    ranking.ScoreResponse,
    _INFERENCE,
)
_CLASSIFY = (
    classify.classify,
    "Classify texts",
    (classes.ClassifyRequest, tei.PredictRequest),
    (classes.ClassifyResponse, *_LABELS),
    _INFERENCE,
)
_RERANK = (ranking.RerankRequest, ranking.RerankResponse, _INFERENCE)

OPENAI: tuple[Row, ...] = (
    Row("POST", "/v1/embeddings", *_EMBEDDINGS),
    Row("POST", "/embeddings", *_EMBEDDINGS),
    Row("POST", "/v1/rerank", rerank.rerank_v1, "Sort documents by relevance", *_RERANK),
    Row("POST", "/v1/score", *_SCORE),
    Row("POST", "/score", *_SCORE),
    Row("POST", "/v1/classify", *_CLASSIFY),
    Row("POST", "/classify", *_CLASSIFY),
)
"""For clients of OpenAI, Jina and vLLM."""

COHERE: tuple[Row, ...] = (
    Row("POST", "/v2/rerank", rerank.rerank_v2, "Sort documents by relevance", *_RERANK, "cohere"),
    Row(
        "POST",
        "/v1/embed",
        cohere.embed_v1,
        "Embed texts, as numbers or in several types at once",
        cohere_wire.EmbedTextsRequest,
        (cohere_wire.EmbedFloatsResponse, cohere_wire.EmbedByTypeResponse),
        _INFERENCE,
        "cohere",
    ),
    Row(
        "POST",
        "/v2/embed",
        cohere.embed,
        "Embed texts, in several types at once",
        (cohere_wire.EmbedTextsRequest, cohere_wire.EmbedInputsRequest),
        cohere_wire.EmbedByTypeResponse,
        _INFERENCE,
        "cohere",
    ),
)
"""For clients of Cohere."""

_RANKED = ((tei.RankRequest, ranking.RerankRequest), (list[tei.Rank], ranking.RerankResponse))


def _tei(path: str, handler: Handler, summary: str, request: object, response: object) -> Row:
    return Row("POST", path, handler, summary, request, response, _INFERENCE, "tei")


TEI: tuple[Row, ...] = (
    _tei("/rerank", rerank.rerank, "Score texts for a query", *_RANKED),
    _tei("/predict", predict.predict, "Classify texts or pairs of texts", tei.PredictRequest, _LABELS),
    _tei(
        "/predict_tokens",
        predict_tokens.predict_tokens,
        "Classify tokens, or find named entities",
        tei.PredictTokensRequest,
        list[list[Entity]],
    ),
    _tei("/embed", embed.embed, "Embed texts", tei.EmbedRequest, list[list[float]]),
    _tei("/embed_all", embed.embed_all, "Embed each token", tei.EmbedAllRequest, list[list[list[float]]]),
    _tei("/embed_sparse", embed.embed_sparse, "Weigh terms", tei.EmbedSparseRequest, list[list[tei.Term]]),
    _tei("/similarity", similarity.similarity, "Compare texts", tei.SimilarityRequest, list[float]),
    _tei("/vertex", vertex.vertex, "Requests of Vertex AI", tei.VertexRequest, tei.VertexResponse),
    Row("POST", "/tokenize", tokens.tokenize, "Tokens of texts", tei.TokenizeRequest, list[list[Token]], _TEXTS, "tei"),
    Row("POST", "/decode", tokens.decode, "Texts of token ids", tei.DecodeRequest, list[str], _TEXTS, "tei"),
)
"""For clients of text-embeddings-inference and BEI."""

_HEALTH: tuple[Any, ...] = (health.health, "200 when the engine answers", None, None, (503,), "tei", "health")

ABOUT: tuple[Row, ...] = (
    Row("GET", "/info", about.info, "The model and its limits", response=tei.Info, dialect="tei"),
    Row("GET", "/v1/models", about.models, "The model that is served", response=openai.Models),
    Row("GET", "/health", *_HEALTH),
    Row("GET", "/ping", *_HEALTH),
    Row("GET", "/metrics", about.metrics, "Prometheus metrics", access="metrics", content_type="text/plain"),
    Row("GET", "/openapi.json", openapi.describe, "This description", response=dict, access="open"),
    Row("GET", "/api-doc/openapi.json", openapi.describe, "This description", response=dict, access="open"),
    Row("GET", "/docs", docs_page.docs, "This description, to read", access="open", content_type="text/html"),
    Row("GET", "/", about.index, "What is served here", response=openai.Index, access="health"),
)

ROUTES: tuple[Row, ...] = (*OPENAI, *COHERE, *TEI, *ABOUT)

DEFAULT_PATHS = ("/invocations", "/v1/models/model:predict")
"""Where the default route answers as well; at `/` it does, and the Hugging Face client is answered."""


def served(manifest: Manifest) -> tuple[Row, ...]:
    """The table for a model: its default route, its name. Raises ConfigError if there is no such route."""
    rows = {row.path: row for row in ROUTES if row.method == "POST"}
    if manifest.default_route not in rows:
        raise ConfigError(f"webserver_default_route is {manifest.default_route}, the routes are {', '.join(rows)}")
    default = rows[manifest.default_route]
    defaults = [replace(default, path=path) for path in DEFAULT_PATHS]
    defaults.append(at_root(default, manifest.spec.task))
    path = f"/v1/models/{manifest.model_name}"
    model = Row("GET", path, about.model, "The model that is served", response=openai.Model)
    return (*ROUTES, *defaults, model)
