"""LiteLLM's providers for servers like this one, and what they return."""

import json
import sys

import litellm

given = json.load(sys.stdin)
key, texts, query, top_k = given["key"], given["texts"], given["query"], given["top_k"]
embedder, reranker, sorting = given["embedder"], given["reranker"], given["sorting"]

EMBED = {
    "openai": f"{embedder}/v1",
    "hosted_vllm": f"{embedder}/v1",
    "huggingface": embedder,
    "jina_ai": f"{embedder}/v1/embeddings",
    "infinity": embedder,
    "cohere": f"{embedder}/v2/embed",
}
RERANK = {
    "huggingface": sorting,
    "cohere": reranker,
    "jina_ai": f"{reranker}/v1/rerank",
    "infinity": reranker,
    "hosted_vllm": reranker,
}


def embed(provider: str, address: str) -> list[list[float]]:
    # Without a task, the provider `huggingface` looks for it on the Hub.
    task = {"input_type": "feature-extraction"} if provider == "huggingface" else {}
    answer = litellm.embedding(model=f"{provider}/any", input=texts, api_base=address, api_key=key, **task)
    return [row["embedding"] for row in answer.data]


def rerank(provider: str, address: str) -> list[tuple[int, float]]:
    # The provider `infinity` expects a document's text where Jina and vLLM answer an object.
    options = {"return_documents": False} if provider == "infinity" else {}
    answer = litellm.rerank(
        model=f"{provider}/any", query=query, documents=texts, top_n=top_k, api_base=address, api_key=key, **options
    )
    return [(row["index"], row["relevance_score"]) for row in answer.results]


answers = {
    "embed": {provider: embed(provider, address) for provider, address in EMBED.items()},
    "rerank": {provider: rerank(provider, address) for provider, address in RERANK.items()},
}
json.dump(answers, sys.stdout)
