"""`bei serve --front-processes`: what the engine process and the fronts do."""

import os
import socket
import sys
from collections.abc import Sequence as Items
from contextlib import ExitStack
from pathlib import Path

from openbei.cli.listening import shared_sockets
from openbei.cli.serving import Serving
from openbei.engine_dir import EngineDir
from openbei.errors import ConfigError
from openbei.serving.fronts.engine_process import run_engine_process
from openbei.serving.fronts.frames import ModelDescription
from openbei.serving.fronts.scheduler import EngineConnection, EngineConnectionError
from openbei.serving.fronts.supervisor import Control, Supervisor
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics, ModelMetrics
from openbei.serving.scheduler import Scheduler
from openbei.serving.served_model import schedulers_of, serve_remotely
from openbei.serving.tokenizer import Tokenizer


def run(serving: Serving, num_fronts: int) -> int:
    """Serve in an engine process and `num_fronts` fronts, and return the exit status.

    Forks them from this process, which must have no threads. In them, this does not return.
    """
    if sys.platform != "linux":
        raise ConfigError("--front-processes needs Linux", hint="leave it out")
    reserved = shared_sockets(serving.host, serving.port)
    port = reserved[0].getsockname()[1]
    supervisor = Supervisor(
        num_fronts,
        run_engine=lambda control: _run_engine(serving, control, num_fronts),
        run_front=lambda connection: _run_front(serving, connection, port, num_fronts),
    )
    return supervisor.run()


def _run_engine(serving: Serving, control: Control, num_fronts: int) -> None:
    engine_dirs = serving.open()
    metrics = Metrics()
    with ExitStack() as stack:

        def load() -> list[Scheduler]:
            models = [stack.enter_context(model) for model in serving.load(engine_dirs)]
            return schedulers_of(
                models, serving.queue_limits, [ModelMetrics(metrics, one.name, one.task) for one in models]
            )

        run_engine_process(control, num_fronts, _descriptions(serving, engine_dirs), load, metrics)


def _descriptions(serving: Serving, engine_dirs: Items[EngineDir]) -> list[ModelDescription]:
    arguments = serving.model_arguments
    return [
        ModelDescription(
            arguments.name(index, one.manifest),
            str(one.path),
            one.manifest,
            arguments.prompts(one.manifest.prompts),
        )
        for index, one in enumerate(engine_dirs)
    ]


def _run_front(serving: Serving, connection: socket.socket, port: int, num_fronts: int) -> None:
    # The tokenizers library would start a thread for each core in every front.
    os.putenv("RAYON_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // num_fronts)))
    edge, engine, metrics = serving.edge(), EngineConnection(connection), Metrics()
    try:
        models = [_without_engines(description) for description in engine.models()]
        started = engine.started()
    except EngineConnectionError:  # the engine process has reported why
        return
    served = serve_remotely(models, engine, started, serving.queue_limits, metrics, cache_bytes=serving.cache_bytes)
    serving.serve(
        edge,
        served,
        metrics,
        exposition=engine.metrics(metrics.text),
        announce=engine.announce,
        sockets=shared_sockets(serving.host, port),
    )


def _without_engines(description: ModelDescription) -> LoadedModel:
    manifest = description.manifest
    tokenizer = Tokenizer.open(EngineDir(Path(description.path), manifest, {}))
    return LoadedModel(manifest, tokenizer, name=description.name, prompts=description.prompts)
