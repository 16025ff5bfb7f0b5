"""Models that are served: each with its scheduler and its metrics."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.queue_budget import QueueBudget, QueueLimits
from openbei.serving.result_cache import ResultCache
from openbei.serving.scheduler import Scheduler
from openbei.serving.turns import Turns


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, the scheduler of its engines, its metrics, and its cache if it has one."""

    model: LoadedModel
    scheduler: Scheduler
    metrics: ModelMetrics
    cache: ResultCache | None


def schedule(
    models: Items[LoadedModel], limits: QueueLimits, metrics: Metrics, *, cache_bytes: int = 0
) -> list[ServedModel]:
    """A scheduler for each model, and a cache of `cache_bytes` unless that is 0.

    The models share the limits and the devices; `max_num_tokens` is that of each manifest.
    """
    budget = QueueBudget(limits)
    in_flight: dict[str, int] = {}
    for engine in (engine for model in models for engine in model.engines):
        place = engine.info.place
        in_flight[place] = min(in_flight.get(place, engine.max_in_flight), engine.max_in_flight)
    turns = {place: Turns(count) for place, count in in_flight.items()}
    served = []
    for model in models:
        own_metrics = ModelMetrics(metrics, model.name, model.task)
        own_limits = replace(limits, max_num_tokens=model.manifest.max_num_tokens)
        own_turns = [turns[engine.info.place] for engine in model.engines]
        scheduler = Scheduler(model.engines, own_limits, own_metrics, budget=budget, turns=own_turns)
        cache = ResultCache(cache_bytes, own_metrics) if cache_bytes else None
        served.append(ServedModel(model, scheduler, own_metrics, cache))
    return served
