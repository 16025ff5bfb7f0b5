"""GET /health: 200 only if the engine works."""

import asyncio

import numpy as np

from openbei.api.exchange.body import Body
from openbei.api.exchange.call import Call, Reply
from openbei.api.service import Service
from openbei.batch import Output, Sequence
from openbei.errors import OpenbeiError, UnavailableError

FRESH_S = 30.0
"""A batch that succeeded this recently is proof enough; otherwise one token is sent through the engine."""

PROBE_TIMEOUT_S = 5.0


async def health(service: Service, call: Call, body: Body) -> Reply:
    """200 with an empty body, or 503."""
    scheduler = service.scheduler
    if scheduler.is_draining or not scheduler.is_healthy:
        raise UnavailableError("the server is shutting down or its engine has stopped")
    if scheduler.seconds_since_success > FRESH_S:
        probe = Sequence(np.zeros(1, np.int32), 1)
        output: Output = "labels" if service.model.manifest.spec.task == "token_classifier" else "pooled"
        try:
            await asyncio.wait_for(scheduler.submit([probe], output), PROBE_TIMEOUT_S)
        except (OpenbeiError, asyncio.TimeoutError) as error:
            raise UnavailableError(f"the engine does not answer: {type(error).__name__}") from error
    return Reply()
