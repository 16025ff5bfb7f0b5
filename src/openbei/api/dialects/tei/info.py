"""TEI's description of the served model and its limits."""

from typing import Any

import msgspec

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.service import Service
from openbei.engine_dir import Manifest
from openbei.spec import EmbeddingHead, TokenEmbeddingHead

HAS_SIMILARITY = (EmbeddingHead, TokenEmbeddingHead)
"""Heads whose vectors are compared."""


class Info(msgspec.Struct, frozen=True, kw_only=True):
    """The served model and its limits. `model_type` has one key: embedding, classifier, reranker or token_classifier.

    `similarity_fn_name` is the similarity function of an embedding model, with the names of sentence-transformers.
    """

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, dict[str, Any]]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool
    version: str
    similarity_fn_name: str | None = None


class ServerInfo(Info, frozen=True, kw_only=True):
    """The first model and its limits, and in `models` those of all."""

    models: list[Info]


async def info(service: Service, call: Call, body: Body) -> Reply:
    """The model and its limits; with several models, of each."""
    models = [_info(one) for one in service.server.services.values()]
    return Reply(models[0] if len(models) == 1 else ServerInfo(**msgspec.structs.asdict(models[0]), models=models))


def _info(service: Service) -> Info:
    manifest, limits = service.model.manifest, service.server.limits
    kind, _, place = manifest.source.partition(" ")
    repository, _, commit = place.rpartition(" ") if kind == "HF" else (place, "", None)
    return Info(
        model_id=repository,
        model_sha=commit,
        model_dtype=manifest.dtype,
        served_model_name=service.model.name,
        model_type=_model_type(manifest),
        max_concurrent_requests=service.scheduler.limits.max_concurrent_requests,
        max_input_length=manifest.max_sequence_tokens,
        max_batch_tokens=manifest.max_num_tokens,
        max_client_batch_size=limits.max_client_batch_size,
        auto_truncate=limits.auto_truncate,
        similarity_fn_name=manifest.similarity if isinstance(manifest.spec.head, HAS_SIMILARITY) else None,
        version=service.server.version,
    )


def _model_type(manifest: Manifest) -> dict[str, dict[str, object]]:
    head = manifest.spec.head
    if isinstance(head, EmbeddingHead):
        return {"embedding": {"pooling": ", ".join(head.poolings)}}
    if manifest.late_interaction:
        return {"embedding": {"pooling": "colbert"}}
    if manifest.spec.task == "sparse":
        return {"embedding": {"pooling": "splade"}}
    names = {"id2label": dict(enumerate(manifest.labels)), "label2id": {n: i for i, n in enumerate(manifest.labels)}}
    return {manifest.main_task: names}
