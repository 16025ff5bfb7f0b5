"""The library `rerankers` with the APIs of Cohere, Jina and text-embeddings-inference: the orders that it returns."""

import json
import sys

from rerankers.models.api_rankers import APIRanker

given = json.load(sys.stdin)
URLS = {
    "cohere": f"{given['reranker']}/v1/rerank",
    "jina": f"{given['reranker']}/v1/rerank",
    "text-embeddings-inference": f"{given['sorting']}/rerank",
}


def rank(provider: str, url: str) -> list[list[float]]:
    results = APIRanker("any", given["key"], provider, url=url).rank(given["query"], given["texts"]).results
    return [[result.document.doc_id, result.score] for result in results]


json.dump({provider: rank(provider, url) for provider, url in URLS.items()}, sys.stdout)
