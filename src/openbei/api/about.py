"""GET routes that say what is served: the index, the models, the model's details, the metrics."""

from prometheus_client import CONTENT_TYPE_LATEST

from openbei.api.call import Call, Reply
from openbei.api.service import Service
from openbei.api.wire.openai import Index, Model, Models
from openbei.api.wire.tei import Info
from openbei.api.wrong_task import is_reranker
from openbei.engine_dir import Manifest
from openbei.spec import EmbeddingHead


async def index(service: Service, call: Call) -> Reply:
    """Name, version, routes."""
    routes = [f"{row.method} {row.path}" for row in service.routes]
    return Reply(Index("openbei", service.version, service.manifest.model_name, routes))


async def models(service: Service, call: Call) -> Reply:
    """OpenAI's list of models: one."""
    return Reply(Models([_model(service)]))


async def model(service: Service, call: Call) -> Reply:
    """The model that is served."""
    return Reply(_model(service))


async def info(service: Service, call: Call) -> Reply:
    """What TEI says at this route."""
    manifest, limits = service.manifest, service.limits
    kind, _, place = manifest.source.partition(" ")
    repository, _, commit = place.rpartition(" ") if kind == "HF" else (place, "", None)
    return Reply(
        Info(
            model_id=repository,
            model_sha=commit,
            model_dtype=manifest.dtype,
            served_model_name=manifest.model_name,
            model_type=_model_type(manifest),
            max_concurrent_requests=service.scheduler.limits.max_concurrent_requests,
            max_input_length=manifest.max_sequence_tokens,
            max_batch_tokens=manifest.max_num_tokens,
            max_client_batch_size=limits.max_client_batch_size,
            auto_truncate=limits.auto_truncate,
            similarity_fn_name=manifest.similarity if isinstance(manifest.spec.head, EmbeddingHead) else None,
            version=service.version,
        )
    )


async def metrics(service: Service, call: Call) -> Reply:
    """Prometheus text format."""
    return Reply(service.metrics.text(), content_type=CONTENT_TYPE_LATEST.encode())


def _model(service: Service) -> Model:
    return Model(service.manifest.model_name, service.created)


def _model_type(manifest: Manifest) -> dict[str, dict[str, object]]:
    head = manifest.spec.head
    if isinstance(head, EmbeddingHead):
        return {"embedding": {"pooling": ", ".join(head.poolings)}}
    if manifest.spec.task == "sparse":
        return {"embedding": {"pooling": "splade"}}
    names = {"id2label": dict(enumerate(manifest.labels)), "label2id": {n: i for i, n in enumerate(manifest.labels)}}
    kind = "reranker" if is_reranker(manifest) else manifest.spec.task
    return {kind: names}
