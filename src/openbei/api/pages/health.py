"""Probes. /health: 200 if all models answer; /readyz: unless shutting down; /livez: unless a restart is needed.

If there are several engines, because there are several GPUs, the header `x-engines` says how many of them work.
"""

import asyncio

import numpy as np

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.exchange.refusals import Header
from openbei.api.service import Service
from openbei.batch import Sequence, head_output
from openbei.errors import OpenbeiError, UnavailableError
from openbei.serving.request_scheduler import RequestScheduler

FRESH_S = 30.0
"""A batch that succeeded this recently is proof enough; otherwise one token is sent through the engine."""

PROBE_TIMEOUT_S = 5.0


async def health(service: Service, call: Call, body: Body) -> Reply:
    """200 with an empty body if all models answer, or 503."""
    await asyncio.gather(*map(_check, service.server.services.values()))
    return Reply(headers=_engines(service))


async def _check(service: Service) -> None:
    """Raise UnavailableError unless the model's engine works."""
    scheduler = service.scheduler
    if scheduler.is_draining or not scheduler.is_healthy:
        raise UnavailableError("the server is shutting down or its engine has stopped")
    if scheduler.seconds_since_success > FRESH_S:
        probe = Sequence(np.zeros(1, np.int32), 1)
        output = head_output(service.model.manifest.spec.head)
        try:
            await asyncio.wait_for(scheduler.submit([probe], output), PROBE_TIMEOUT_S)
        except (OpenbeiError, asyncio.TimeoutError) as error:
            raise UnavailableError(f"the engine does not answer: {type(error).__name__}") from error


async def live(service: Service, call: Call, body: Body) -> Reply:
    """200 with an empty body, or 503 if the last engine of a model hangs or has stopped. The engines are not used."""
    if any(scheduler.is_hung or not scheduler.is_healthy for scheduler in _schedulers(service)):
        raise UnavailableError("an engine hangs or has stopped")
    return Reply()


async def ready(service: Service, call: Call, body: Body) -> Reply:
    """200 with an empty body, or 503 during shutdown. Load is no reason: all replicas would leave at once."""
    if any(scheduler.is_draining or not scheduler.is_healthy for scheduler in _schedulers(service)):
        raise UnavailableError("the server is shutting down or an engine has stopped")
    return Reply(headers=_engines(service))


def _engines(service: Service) -> tuple[Header, ...]:
    """The number of engines that work, and of all, if there are several: `x-engines: 1/2`."""
    schedulers = _schedulers(service)
    count = sum(len(scheduler.engine_infos) for scheduler in schedulers)
    if count == len(schedulers):
        return ()
    return ((b"x-engines", b"%d/%d" % (sum(scheduler.num_working for scheduler in schedulers), count)),)


def _schedulers(service: Service) -> list[RequestScheduler]:
    """The schedulers of all models."""
    return [one.scheduler for one in service.server.services.values()]
