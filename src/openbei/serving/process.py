"""The process that runs engines: the settings of its interpreter, and its end if the engines hang."""

import gc
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from openbei.serving.request_scheduler import RequestScheduler

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.0005
"""The interpreter's thread switch interval, which can delay the engine's thread.

Python's default is ten times as long.
"""

ENGINE_LOST_STATUS = 70
"""The exit status if the engine hangs or can run no more batches: EX_SOFTWARE of sysexits.h."""


@contextmanager
def serving_interpreter() -> Iterator[None]:
    """Set the interpreter up for serving. Modules and models must be loaded before."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # modules and models live as long as the server, so garbage collections need not visit them
    try:
        yield
    finally:
        gc.unfreeze()


def end_if_hung(schedulers: Iterable[RequestScheduler]) -> None:
    """Take engines that hang out of service. If all hang, end the process: an engine's thread cannot be stopped."""
    for scheduler in schedulers:
        scheduler.take_out_hung()
        if scheduler.is_hung:
            timeout_s = scheduler.limits.engine_timeout_s
            log.critical("a batch has been running for more than %.0f s: the engine hangs, ending", timeout_s)
            exit_now(ENGINE_LOST_STATUS)


def end_if_taken_out(schedulers: Iterable[RequestScheduler]) -> None:
    """End the process if an engine was taken out of service: with status 70 if it was the last one, else 0."""
    taken_out = [scheduler for scheduler in schedulers if scheduler.has_taken_out]
    if taken_out:
        exit_now(ENGINE_LOST_STATUS if any(scheduler.has_lost_engine for scheduler in taken_out) else 0)


def exit_now(status: int) -> NoReturn:
    """End the process at once: an engine that hangs cannot be stopped, and a lost GPU's memory cannot be freed."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(status)
