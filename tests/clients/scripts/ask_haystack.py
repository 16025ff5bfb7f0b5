"""Haystack's components for servers of text-embeddings-inference and OpenAI, and what they return."""

import json
import sys

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret
from haystack_integrations.components.embedders.huggingface_api import (
    HuggingFaceAPIDocumentEmbedder,
    HuggingFaceAPITextEmbedder,
)
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

given = json.load(sys.stdin)
key = Secret.from_token(given["key"])
documents = [Document(content=text) for text in given["texts"]]

openai = {"api_key": key, "api_base_url": f"{given['embedder']}/v1", "model": "any"}
tei = {"api_type": "text_embeddings_inference", "api_params": {"url": given["embedder"]}, "token": key}
ranker = HuggingFaceTEIRanker(url=given["sorting"], top_k=given["top_k"], token=key)
ranked = ranker.run(query=given["query"], documents=documents)["documents"]

answers = {
    "openai documents": [d.embedding for d in OpenAIDocumentEmbedder(**openai).run(documents)["documents"]],
    "openai text": OpenAITextEmbedder(**openai).run(given["query"])["embedding"],
    "tei documents": [d.embedding for d in HuggingFaceAPIDocumentEmbedder(**tei).run(documents)["documents"]],
    "tei text": HuggingFaceAPITextEmbedder(**tei).run(given["query"])["embedding"],
    "ranked": [[given["texts"].index(document.content), document.score] for document in ranked],
}
json.dump(answers, sys.stdout)
