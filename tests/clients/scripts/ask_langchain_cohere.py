"""langchain-cohere's embeddings and reranker, and what they return."""

import json
import sys

from langchain_cohere import CohereEmbeddings, CohereRerank

given = json.load(sys.stdin)
embeddings = CohereEmbeddings(cohere_api_key=given["key"], base_url=given["embedder"], model="any")
reranker = CohereRerank(cohere_api_key=given["key"], base_url=given["reranker"], model="any", top_n=given["top_k"])
ranked = reranker.rerank(documents=given["texts"], query=given["query"])

answers = {
    "documents": embeddings.embed_documents(given["texts"]),
    "query": embeddings.embed_query(given["query"]),
    "ranked": [[row["index"], row["relevance_score"]] for row in ranked],
}
json.dump(answers, sys.stdout)
