"""Jina's reranker. Its embeddings are OpenAI's with more fields, its classifier is vLLM's."""

from openbei.api.dialects.ranking import rank_documents
from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.service import Service


async def rerank(service: Service, call: Call, body: Body) -> Reply:
    """Documents, the best first, with their texts unless `return_documents` is false."""
    return await rank_documents(service, call, body, returns_documents=True)
