"""The table of docs/models.md: architecture names, tasks, and Hub ids that declare them."""

from openbei.families import FAMILIES, find_family
from tools.reference.markdown import code, table

TASKS = {
    "embedding": "embeddings",
    "sequence_labels": "reranking, classification",
    "token_labels": "named entities",
    "term_weights": "sparse embeddings",
}

RUN = {"sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-mpnet-base-v2", "SPLADE-tiny-msmarco"}
"""Published checkpoints that were run and compared: see docs/benchmarks.md."""

HUB_IDS: dict[str, tuple[str, ...]] = {
    "Bert": (
        "sentence-transformers/all-MiniLM-L6-v2",
        "SPLADE-tiny-msmarco",
        "BAAI/bge-base-en-v1.5",
        "intfloat/e5-base-v2",
        "mixedbread-ai/mxbai-embed-large-v1",
        "cross-encoder/ms-marco-MiniLM-L6-v2",
    ),
    "Roberta": ("sentence-transformers/all-distilroberta-v1", "SamLowe/roberta-base-go_emotions"),
    "XLMRoberta": (
        "BAAI/bge-m3",
        "intfloat/multilingual-e5-large",
        "BAAI/bge-reranker-v2-m3",
        "papluca/xlm-roberta-base-language-detection",
    ),
    "Camembert": ("dangvantuan/sentence-camembert-base",),
    "DistilBert": ("distilbert/distilbert-base-uncased-finetuned-sst-2-english",),
    "Electra": ("cross-encoder/ms-marco-electra-base",),
    "MPNet": ("sentence-transformers/all-mpnet-base-v2", "sentence-transformers/multi-qa-mpnet-base-dot-v1"),
    "DebertaV2": ("mixedbread-ai/mxbai-rerank-base-v1",),
    "ModernBert": (
        "Alibaba-NLP/gte-modernbert-base",
        "Alibaba-NLP/gte-reranker-modernbert-base",
        "lightonai/GTE-ModernColBERT-v1",
    ),
    "NomicBert": ("nomic-ai/nomic-embed-text-v1.5", "nomic-ai/nomic-embed-text-v2-moe"),
    "JinaBert": ("jinaai/jina-embeddings-v2-base-en", "jinaai/jina-embeddings-v2-base-code"),
    "New": ("Alibaba-NLP/gte-multilingual-base", "Alibaba-NLP/gte-large-en-v1.5"),
    "Llama": ("Skywork/Skywork-Reward-Llama-3.1-8B-v0.2",),
    "LlamaBidirectional": ("nvidia/llama-embed-nemotron-8b",),
    "Mistral": ("intfloat/e5-mistral-7b-instruct",),
    "Qwen2": ("nomic-ai/nomic-embed-code", "mixedbread-ai/mxbai-rerank-base-v2"),
    "Qwen3": ("Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Reranker-0.6B"),
    "Gemma2": ("BAAI/bge-multilingual-gemma2",),
    "Gemma3Text": ("google/embeddinggemma-300m",),
}
"""Beginning of an architecture's name -> models whose config.json declares it."""


def architectures() -> str:
    """Rows: name, tasks, models."""
    rows = [
        (code(name), _tasks(name), ", ".join(_model(model) for model in HUB_IDS.get(name, ())))
        for name in FAMILIES
        if name != "JinaCodeBert"  # no config.json says so: it is JinaBert with other code
    ]
    return table(("architecture", "tasks", "models"), rows)


def _tasks(beginning: str) -> str:
    """The tasks that checkpoints of an architecture can have."""
    family, _ = find_family(f"{beginning}Model")
    return ", ".join(words for kind, words in TASKS.items() if kind in family.HEADS)


def _model(model: str) -> str:
    return f"**{code(model)}**" if model in RUN else code(model)
