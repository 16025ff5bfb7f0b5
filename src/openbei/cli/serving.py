"""The steps of `bei serve`: open the engine directories, load the models, and serve them in one process."""

import logging
import socket
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from openbei import targets
from openbei.api.app import Exposition, create_app
from openbei.api.connections.tls import Tls
from openbei.api.exchange.edge import Edge
from openbei.api.exchange.keys import Guard
from openbei.api.limits import Limits
from openbei.api.server import serve
from openbei.cli.connection_options import ConnectionArguments
from openbei.cli.engine_options import EngineArguments
from openbei.cli.served_model import ModelArguments, require_key
from openbei.cli.serving_options import EdgeArguments
from openbei.config import Environment
from openbei.engine_dir import EngineDir
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.served_model import ServedModel, check_names, schedule
from openbei.serving.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The values of the options."""

    targets: tuple[str, ...]
    out: Path | None
    verify: bool
    host: str
    port: int
    cache_bytes: int
    engine_arguments: EngineArguments
    model_arguments: ModelArguments
    queue_limits: QueueLimits
    limits: Limits
    connections: ConnectionArguments
    edge_arguments: EdgeArguments
    guard: Guard
    tls: Tls | None
    environment: Environment

    def run(self) -> None:
        """Serve in this process."""
        edge, engine_dirs = self.edge(), self.open()
        metrics = Metrics()
        with ExitStack() as stack:
            models = [stack.enter_context(model) for model in self.load(engine_dirs)]
            served = schedule(models, self.queue_limits, metrics, cache_bytes=self.cache_bytes)
            self.serve(edge, served, metrics)

    def edge(self) -> Edge:
        """The server's edge. Raises ConfigError if a library is missing."""
        return self.edge_arguments.edge(self.guard)

    def open(self) -> list[EngineDir]:
        """Open the engine directories, which are built if necessary."""
        device, backend = self.engine_arguments.device, self.engine_arguments.backend
        targets.preload(self.environment, device=device, backend=backend)
        engine_dirs = [
            targets.engine_dir_of(
                target, self.environment, self.out, verify=self.verify, device=device, backend=backend
            )
            for target in self.targets
        ]
        check_names([self.model_arguments.name(i, one.manifest) for i, one in enumerate(engine_dirs)])
        require_key([engine_dir.manifest for engine_dir in engine_dirs], self.guard)
        _log.info("hashes of engine directories: %s", "checked" if self.verify else "not checked (--no-verify)")
        return engine_dirs

    def load(self, engine_dirs: Items[EngineDir]) -> Iterator[LoadedModel]:
        """Load the models, one after the other."""
        for index, engine_dir in enumerate(engine_dirs):
            manifest = engine_dir.manifest
            name, prompts = self.model_arguments.name(index, manifest), self.model_arguments.prompts(manifest.prompts)
            _log.info("model: %s, %s, %s", name, manifest.spec.family, manifest.spec.task)
            engines = self.engine_arguments.load(engine_dir, self.environment)
            yield LoadedModel(manifest, Tokenizer.open(engine_dir), *engines, name=name, prompts=prompts)

    def serve(
        self,
        edge: Edge,
        served: Items[ServedModel],
        metrics: Metrics,
        *,
        exposition: Exposition | None = None,
        announce: Callable[[str], None] | None = None,
        sockets: list[socket.socket] | None = None,
    ) -> None:
        """Serve models over HTTP. The arguments are those of `create_app`, `build_server` and `serve`."""
        app = create_app(
            served,
            metrics=metrics,
            limits=self.limits,
            edge=edge,
            shutdown_deadline_s=self.connections.shutdown_timeout_s,
            exposition=exposition,
        )
        schedulers = [one.scheduler for one in served]
        server = self.connections.server(
            app, schedulers, host=self.host, port=self.port, tls=self.tls, announce=announce
        )
        serve(server, sockets)
