"""The engine process: runs the schedulers of all models for the fronts, without HTTP."""

import asyncio
import logging
import signal
from collections.abc import Callable
from collections.abc import Sequence as Items
from contextlib import suppress

import uvloop

from openbei.serving.fronts.engine import Fronts
from openbei.serving.fronts.frames import ModelDescription
from openbei.serving.fronts.supervisor import Control
from openbei.serving.metrics import Metrics
from openbei.serving.process import ENGINE_LOST_STATUS, end_if_hung, end_if_taken_out, exit_now, serving_interpreter
from openbei.serving.scheduler import Scheduler

log = logging.getLogger(__name__)

TICK_S = 0.1
"""How often the engines are checked."""


def run_engine_process(
    control: Control,
    num_fronts: int,
    models: Items[ModelDescription],
    load: Callable[[], Items[Scheduler]],
    metrics: Metrics,
) -> None:
    """Serve the fronts until SIGTERM, which the supervisor sends after their end. Raises what `load` raises.

    The fronts load their tokenizers while `load` loads the models. If an engine was taken out of service, the process
    ends here: with status 70 if it was the last one, else 0.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_if_taken_out(uvloop.run(_run(control, num_fronts, models, load, metrics)))


async def _run(
    control: Control,
    num_fronts: int,
    models: Items[ModelDescription],
    load: Callable[[], Items[Scheduler]],
    metrics: Metrics,
) -> Items[Scheduler]:
    loop = asyncio.get_running_loop()

    def ready(address: str) -> None:
        infos = dict.fromkeys(str(info) for scheduler in schedulers for info in scheduler.engine_infos)
        log.info("ready on %s (%s; front processes: %d)", address, "; ".join(infos), num_fronts)
        control.report_ready()

    def connect() -> None:
        connection = control.receive()
        if connection is None:
            log.critical("the process that supervises the server has ended; the server stops")
            exit_now(ENGINE_LOST_STATUS)
        fronts.connect(connection)

    fronts = Fronts(models, metrics, num_fronts, ready)
    loop.add_reader(control.fileno(), connect)
    schedulers = await asyncio.to_thread(load)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    with serving_interpreter():
        for scheduler in schedulers:
            scheduler.start()
        fronts.begin(schedulers)
        await _watch(schedulers, fronts, stop)
    await asyncio.gather(*(scheduler.close(0) for scheduler in schedulers))
    loop.remove_reader(control.fileno())
    return schedulers


async def _watch(schedulers: Items[Scheduler], fronts: Fronts, stop: asyncio.Event) -> None:
    """Check the engines until the process must stop, or a model has lost its last one."""
    while not stop.is_set():
        if any(scheduler.has_lost_engine for scheduler in schedulers):
            log.critical("no engine is left that can run batches; the server stops with status %d", ENGINE_LOST_STATUS)
            return
        end_if_hung(schedulers)
        fronts.report_working()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_S)
