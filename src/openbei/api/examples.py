"""A request of each kind, for the OpenAPI document."""

from typing import Any

from openbei.api.wire import classes, cohere, openai, ranking, tei
from openbei.spec import Task

_FRANCE = ["Paris is the capital of France.", "Bread is made of flour."]

EXAMPLES: dict[Any, Any] = {
    openai.EmbeddingsRequest: {"input": _FRANCE, "model": "model"},
    cohere.EmbedTextsRequest: {"texts": _FRANCE, "input_type": "search_document", "embedding_types": ["float"]},
    ranking.RerankRequest: {"query": "What is the capital of France?", "documents": _FRANCE, "top_n": 1},
    ranking.ScoreTextsRequest: {"text_1": "What is the capital of France?", "text_2": _FRANCE},
    classes.ClassifyRequest: {"input": ["What a fine day!"]},
    tei.RankRequest: {"query": "What is the capital of France?", "texts": _FRANCE},
    tei.PredictRequest: {"inputs": [["What a fine day!"], ["It rains."]]},
    tei.PredictTokensRequest: {"inputs": [["John lives in Paris."]], "aggregation_strategy": "max"},
    tei.EmbedRequest: {"inputs": _FRANCE},
    tei.EmbedAllRequest: {"inputs": _FRANCE},
    tei.EmbedSparseRequest: {"inputs": _FRANCE},
    tei.SimilarityRequest: {"inputs": {"source_sentence": "The capital of France", "sentences": _FRANCE}},
    tei.TokenizeRequest: {"inputs": _FRANCE},
    tei.DecodeRequest: {"ids": [[1, 2, 3]]},
}
"""By the request's type; of several types that a route takes, the first."""

INSTANCES: dict[Task, Any] = {
    "embedding": tei.EmbedRequest,
    "reranker": tei.RankRequest,
    "classifier": tei.PredictRequest,
    "token_classifier": tei.PredictTokensRequest,
    "sparse": tei.EmbedSparseRequest,
}
"""The request that an instance of /vertex is, by task."""


def vertex_example(task: Task) -> dict[str, Any]:
    """A request to /vertex."""
    return {"instances": [EXAMPLES[INSTANCES[task]]]}
