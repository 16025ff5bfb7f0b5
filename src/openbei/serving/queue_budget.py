"""The limits of the queue, and how several models share them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimits:
    """The limits of batches and of the queue.

    `max_batch_tokens` None means `Engine.batch_tokens`. `max_num_tokens` is that of the engine directory; longer
    sequences are refused. `max_queue_tokens` and `max_concurrent_requests` are for all models together. If a batch runs
    for longer than `engine_timeout_s`, the engine is considered hung.
    """

    max_batch_tokens: int | None = None
    max_num_tokens: int = 8192
    max_queue_tokens: int = 1_000_000
    max_concurrent_requests: int = 2048
    engine_timeout_s: float = 1800.0


@dataclass(slots=True)
class QueueShare:
    """The requests and tokens of one model that are queued or running."""

    num_requests: int = 0
    num_tokens: int = 0


class QueueBudget:
    """The requests and tokens of all models. However many requests one model gets, there is room for the others."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._shares: list[QueueShare] = []

    def join(self) -> QueueShare:
        """Add a model, and return its share."""
        self._shares.append(QueueShare())
        return self._shares[-1]

    def has_room(self, share: QueueShare) -> bool:
        """Whether a request of a model would be queued. The request may be larger than the remaining room."""
        limits, num_models = self._limits, len(self._shares)
        return _has_room(share.num_requests, self._requests, num_models, limits.max_concurrent_requests) and _has_room(
            share.num_tokens, self._tokens, num_models, limits.max_queue_tokens
        )

    def __str__(self) -> str:
        """For errors: what is used of the limits."""
        limits = self._limits
        return (
            f"{sum(self._requests())} requests (limit {limits.max_concurrent_requests}), "
            f"{sum(self._tokens())} tokens (limit {limits.max_queue_tokens})"
        )

    def _requests(self) -> list[int]:
        return [share.num_requests for share in self._shares]

    def _tokens(self) -> list[int]:
        return [share.num_tokens for share in self._shares]


def _has_room(own: int, used: Callable[[], list[int]], num_models: int, limit: int) -> bool:
    """Whether a model has room below a limit; it uses `own`, and `used` has the same for each model.

    Half of the limit is reserved, the same part for each model; the other half is for all.
    """
    reserved = limit / 2 / num_models
    return own < reserved or sum(max(0, count - reserved) for count in used()) < limit / 2
