"""A request of each kind, for the OpenAPI document."""

from typing import Any

from openbei.api.dialects import bei, cohere, jina, openai, ranking, vllm
from openbei.api.dialects.tei import embed, predict, rank, similarity, tokens
from openbei.spec import Task

_FRANCE = ["Paris is the capital of France.", "Bread is made of flour."]

EXAMPLES: dict[Any, Any] = {
    openai.EmbeddingsRequest: {"input": _FRANCE, "model": "model"},
    cohere.EmbedTextsRequest: {"texts": _FRANCE, "input_type": "search_document", "embedding_types": ["float"]},
    ranking.RerankRequest: {"query": "What is the capital of France?", "documents": _FRANCE, "top_n": 1},
    vllm.ScoreTextsRequest: {"text_1": "What is the capital of France?", "text_2": _FRANCE},
    vllm.ClassifyRequest: {"input": ["What a fine day!"]},
    rank.RankRequest: {"query": "What is the capital of France?", "texts": _FRANCE},
    predict.PredictRequest: {"inputs": [["What a fine day!"], ["It rains."]]},
    bei.PredictTokensRequest: {"inputs": [["John lives in Paris."]], "aggregation_strategy": "max"},
    embed.EmbedRequest: {"inputs": _FRANCE},
    embed.EmbedAllRequest: {"inputs": _FRANCE},
    jina.MultiVectorRequest: {"input": _FRANCE, "input_type": "document"},
    embed.EmbedSparseRequest: {"inputs": _FRANCE},
    similarity.SimilarityRequest: {"inputs": {"source_sentence": "The capital of France", "sentences": _FRANCE}},
    tokens.TokenizeRequest: {"inputs": _FRANCE},
    tokens.DecodeRequest: {"ids": [[1, 2, 3]]},
}
"""Request type -> example. For a route with several types, the first one is used."""

INSTANCES: dict[Task, Any] = {
    "embedding": embed.EmbedRequest,
    "reranker": rank.RankRequest,
    "classifier": predict.PredictRequest,
    "token_classifier": bei.PredictTokensRequest,
    "sparse": embed.EmbedSparseRequest,
    "late_interaction": embed.EmbedAllRequest,
}
"""Task -> the request type of an instance of /vertex."""


def vertex_example(task: Task) -> dict[str, Any]:
    """A request to /vertex."""
    return {"instances": [EXAMPLES[INSTANCES[task]]]}
