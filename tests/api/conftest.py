"""A real server in a thread, over the fake engine, and clients for it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from openbei.api.app import create_app
from openbei.api.connections.gate import ConnectionLimits
from openbei.api.connections.tls import Tls
from openbei.api.exchange.edge import Edge
from openbei.api.limits import Limits
from openbei.api.server import build_server
from openbei.batch import Vectors
from openbei.build.storage import choose_storage
from openbei.engine_dir import Manifest
from openbei.serving.fake_engine import FakeEngine
from openbei.serving.loaded_model import LoadedModel
from openbei.serving.metrics import Metrics
from openbei.serving.queue_budget import QueueLimits
from openbei.serving.served_model import schedule
from openbei.serving.tokenizer import Tokenizer
from openbei.spec import MLP, Attention, EmbeddingHead, Head, LayerNorm, LearnedPositions, ModelSpec

from ..small_tokenizer import VOCAB_SIZE, write_tokenizer

MAX_TOKENS = 64
FAILING_ID = 4 + 666  # the word w666


@dataclass(frozen=True)
class Served:
    """What a test needs to know of a running server."""

    client: httpx.Client
    engine: FakeEngine
    metrics: Metrics
    tokenizer: Tokenizer

    @property
    def url(self) -> str:
        return str(self.client.base_url)

    @property
    def address(self) -> tuple[str, int]:
        return self.client.base_url.host, self.client.base_url.port or 80

    def embed(self, **request: object) -> httpx.Response:
        return self.client.post("/v1/embeddings", json=request)

    def post(self, path: str, **request: object) -> Any:
        """The answer of a request that is right."""
        response = self.client.post(path, json=request)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, path: str, **request: object) -> tuple[int, str]:
        """Status and message of a request that is wrong, whatever the shape of its error."""
        response = self.client.post(path, json=request)
        body = response.json()
        error = body.get("error", body)
        return response.status_code, error if isinstance(error, str) else error["message"]

    def logits(self, token_ids: list[int] | Vectors) -> Vectors:
        return self.engine.vector(np.array(token_ids))

    def pair_logits(self, first: str, second: str) -> Vectors:
        """What the engine makes of a pair."""
        [sequence] = self.tokenizer.encode_pairs([(first, second)])
        return self.logits(sequence.token_ids)

    def expected(self, token_ids: list[int], dimensions: int | None = None) -> Vectors:
        vector = self.engine.vector(np.array(token_ids))[:dimensions]
        return vector / np.linalg.norm(vector)

    def value(self, name: str, **labels: str) -> float:
        of_model = {} if name.startswith("openbei_http") else {"model": "small"}
        return self.metrics.registry.get_sample_value(name, {**of_model, **labels}) or 0.0

    def await_value(self, name: str, wanted: float, **labels: str) -> None:
        """Wait until a metric has a value; fail after a while."""
        self._await(name, lambda value: value == wanted, **labels)

    def await_at_least(self, name: str, wanted: float, **labels: str) -> None:
        """Wait until a metric has a value or more; fail after a while."""
        self._await(name, lambda value: value >= wanted, **labels)

    def _await(self, name: str, is_right: Callable[[float], bool], **labels: str) -> None:
        for _ in range(500):
            if is_right(self.value(name, **labels)):
                return
            time.sleep(0.01)
        raise AssertionError(f"{name} is {self.value(name, **labels)}")


def small_manifest(head: Head | None = None, **fields: Any) -> Manifest:
    """What a small model's engine directory would say; an embedding model unless `head` says otherwise."""
    spec = ModelSpec(
        family="bert",
        vocab_size=VOCAB_SIZE,
        type_vocab_size=2,
        hidden_size=8,
        num_layers=1,
        positions=LearnedPositions(max_positions=MAX_TOKENS),
        attention=Attention(num_heads=1, num_kv_heads=1, head_dim=8),
        mlp=MLP(intermediate_size=8, activation="gelu"),
        norm=LayerNorm(eps=1e-12),
        head=head or EmbeddingHead(poolings=("mean",)),
    )
    given = {
        "openbei_version": "0",
        "model_name": "small",
        "source": "LOCAL a test",
        "spec": spec,
        "normalize": True,
        "target": "cpu",
        "storage": choose_storage(spec, "float32", "cpu"),
        "max_sequence_tokens": MAX_TOKENS,
        "max_num_tokens": 8192,
        "default_route": "/v1/embeddings",
        "content_hash": "",
        "report": (),
        "has_token_types": True,
    }
    return Manifest(**(given | fields))


@contextmanager
def serving(
    tokenizer_path: Path,
    engine: FakeEngine,
    queue: QueueLimits,
    accepted: Limits,
    manifest: Manifest,
    edge: Edge | None = None,
    tls: Tls | None = None,
    connections: ConnectionLimits | None = None,
    cache_bytes: int = 0,
) -> Iterator[Served]:
    model = LoadedModel(manifest, Tokenizer(tokenizer_path, MAX_TOKENS, VOCAB_SIZE), engine)
    with serving_all([model], queue, accepted, edge, tls, connections, cache_bytes) as served:
        yield served


@contextmanager
def serving_all(
    models: list[LoadedModel],
    queue: QueueLimits | None = None,
    accepted: Limits | None = None,
    edge: Edge | None = None,
    tls: Tls | None = None,
    connections: ConnectionLimits | None = None,
    cache_bytes: int = 0,
) -> Iterator[Served]:
    """A server of several models; what a test gets is over the first one's engine."""
    metrics = Metrics()
    scheduled = schedule(models, queue or QueueLimits(), metrics, cache_bytes=cache_bytes)
    app = create_app(scheduled, metrics=metrics, limits=accepted, edge=edge, shutdown_deadline_s=5)
    server = build_server(
        app,
        [one.scheduler for one in scheduled],
        host="127.0.0.1",
        port=0,
        connections=connections,
        shutdown_deadline_s=5,
        tls=tls,
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    engine = models[0].engine
    assert isinstance(engine, FakeEngine)
    try:
        # Its pool may close an idle connection that a thread has just been given, unless it may keep all.
        limits = httpx.Limits(max_keepalive_connections=None)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, limits=limits) as client:
            yield Served(client, engine, metrics, models[0].tokenizer)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def tokenizer_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("api") / "tokenizer.json")


@pytest.fixture(scope="module")
def served(tokenizer_path: Path) -> Iterator[Served]:
    """A server with generous limits, shared by a module."""
    engine = FakeEngine(failing_token_id=FAILING_ID)
    with serving(tokenizer_path, engine, QueueLimits(), Limits(max_body_bytes=1_000_000), small_manifest()) as one:
        yield one


Start = Callable[..., Served]


@pytest.fixture
def start(tokenizer_path: Path) -> Iterator[Start]:
    """Start a server of one's own: `start(engine, ...)`, with the arguments of `serving`."""
    with ExitStack() as stack:

        def start_one(
            engine: FakeEngine,
            queue: QueueLimits | None = None,
            limits: Limits | None = None,
            manifest: Manifest | None = None,
            edge: Edge | None = None,
            tls: Tls | None = None,
            connections: ConnectionLimits | None = None,
            cache_bytes: int = 0,
        ) -> Served:
            queue, limits, manifest = queue or QueueLimits(), limits or Limits(), manifest or small_manifest()
            one = serving(tokenizer_path, engine, queue, limits, manifest, edge, tls, connections, cache_bytes)
            return stack.enter_context(one)

        yield start_one
