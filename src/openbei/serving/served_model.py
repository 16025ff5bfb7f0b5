"""Models that are served: each with its scheduler and its metrics."""

from collections.abc import Sequence as Items
from dataclasses import dataclass, replace

from openbei.errors import ConfigError
from openbei.serving.fronts.frames import StartedModel
from openbei.serving.fronts.scheduler import EngineConnection, RemoteScheduler
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.queue_budget import QueueBudget, QueueLimits
from openbei.serving.request_scheduler import RequestScheduler
from openbei.serving.result_cache import ResultCache
from openbei.serving.scheduler import Scheduler
from openbei.serving.turns import Turns


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model, the scheduler of its engines, its metrics, and its cache if it has one."""

    model: LoadedModel
    scheduler: RequestScheduler
    metrics: ModelMetrics
    cache: ResultCache | None


def check_names(names: Items[str]) -> None:
    """Raise ConfigError if two models have one name."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ConfigError(f"two models have the name {name}", hint="name them with --served-model-name")


def schedule(
    models: Items[LoadedModel], limits: QueueLimits, metrics: Metrics, *, cache_bytes: int = 0
) -> list[ServedModel]:
    """A scheduler for each model, and a cache of `cache_bytes` unless that is 0. See `schedulers_of`."""
    own_metrics = [ModelMetrics(metrics, model.name, model.task) for model in models]
    schedulers = schedulers_of(models, limits, own_metrics)
    return _served(models, schedulers, own_metrics, cache_bytes)


def schedulers_of(models: Items[LoadedModel], limits: QueueLimits, metrics: Items[ModelMetrics]) -> list[Scheduler]:
    """A scheduler for each model, with its metrics.

    The models share the limits and the devices; `max_num_tokens` is that of each manifest.
    """
    budget = QueueBudget(limits)
    in_flight: dict[str, int] = {}
    for engine in (engine for model in models for engine in model.engines):
        place = engine.info.place
        in_flight[place] = min(in_flight.get(place, engine.max_in_flight), engine.max_in_flight)
    turns = {place: Turns(count) for place, count in in_flight.items()}
    return [
        Scheduler(
            model.engines,
            _own_limits(limits, model),
            own_metrics,
            budget=budget,
            turns=[turns[engine.info.place] for engine in model.engines],
        )
        for model, own_metrics in zip(models, metrics, strict=True)
    ]


def serve_remotely(
    models: Items[LoadedModel],
    engine: EngineConnection,
    started: Items[StartedModel],
    limits: QueueLimits,
    metrics: Metrics,
    *,
    cache_bytes: int = 0,
) -> list[ServedModel]:
    """The models of a front, without engines: those are in the engine process."""
    own_metrics = [ModelMetrics(metrics, model.name, model.task) for model in models]
    schedulers = [
        RemoteScheduler(engine, index, one, _own_limits(limits, model))
        for index, (model, one) in enumerate(zip(models, started, strict=True))
    ]
    return _served(models, schedulers, own_metrics, cache_bytes)


def _own_limits(limits: QueueLimits, model: LoadedModel) -> QueueLimits:
    return replace(limits, max_num_tokens=model.manifest.max_num_tokens)


def _served(
    models: Items[LoadedModel],
    schedulers: Items[RequestScheduler],
    metrics: Items[ModelMetrics],
    cache_bytes: int,
) -> list[ServedModel]:
    return [
        ServedModel(model, scheduler, own_metrics, ResultCache(cache_bytes, own_metrics) if cache_bytes else None)
        for model, scheduler, own_metrics in zip(models, schedulers, metrics, strict=True)
    ]
