"""Models that are served: each with its scheduler and its metrics."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.scheduler import QueueLimits, Scheduler


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, and the scheduler of its engine."""

    model: LoadedModel
    scheduler: Scheduler
    metrics: ModelMetrics


def schedule(models: Items[LoadedModel], limits: QueueLimits, metrics: Metrics) -> list[ServedModel]:
    """A scheduler for each model. Their `max_num_tokens` is that of the manifest."""
    served = []
    for model in models:
        own_metrics = ModelMetrics(metrics, model.name, model.task)
        own_limits = replace(limits, max_num_tokens=model.manifest.max_num_tokens)
        served.append(ServedModel(model, Scheduler(model.engine, own_limits, own_metrics), own_metrics))
    return served
