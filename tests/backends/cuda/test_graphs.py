"""CUDA graphs without a GPU: a fake graph computes again, from the arrays that a real one reads, what it captured."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from openbei.backends.cuda.graphs import Graphs
from openbei.backends.cuda.inputs import Inputs
from openbei.backends.cuda.ops_torch import TorchOps
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.transfer import WeightUpload
from openbei.backends.cuda.weights import load_weights
from openbei.backends.reference import ReferenceEngine
from openbei.batch import Output
from tests.random_engine import random_engine_dir
from tests.small_models import random_batch, small_spec

CPU = torch.device("cpu")


class Recorder(Program):
    """A program that remembers its last run."""

    def run(self, inputs: Inputs, output: Output) -> torch.Tensor:
        self.last = inputs, output
        return super().run(inputs, output)


def test_rows_of_captured_and_replayed_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of several sizes and outputs by turns: the rows of a graph are not those of another."""
    engine_dir = random_engine_dir(small_spec(36, 3, 12, 50))
    spec, reference = engine_dir.manifest.spec, ReferenceEngine(engine_dir)
    weights = load_weights(engine_dir, torch.float32, WeightUpload(CPU))
    program = Recorder(spec, weights, TorchOps(torch.float32), torch.float32)
    num_replays = 0

    class FakeGraph:
        def replay(self) -> None:
            nonlocal num_replays
            num_replays += 1
            [captured] = [one for one in graphs._captured.values() if one.graph is self]
            captured.rows.copy_(program.run(*self.recorded))

    @contextmanager
    def capture(graph: FakeGraph, **options: object) -> Iterator[None]:
        yield
        graph.recorded = program.last  # type: ignore[attr-defined]

    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: None)
    monkeypatch.setattr("torch.cuda.CUDAGraph", FakeGraph)
    monkeypatch.setattr("torch.cuda.graph", capture)
    graphs = Graphs(program, spec, TorchOps.query_block, CPU)
    outputs: tuple[Output, ...] = ("pooled", "tokens")
    for seed in range(4):
        for lengths in ([5, 40, 1], [3], [17] * 9):
            for output in outputs:
                batch = random_batch(lengths, seed=seed)
                with torch.inference_mode():
                    rows = graphs.run(batch, output)
                assert rows is not None
                expected = np.asarray(reference.run(batch, output))
                np.testing.assert_allclose(rows[: len(expected)].numpy(), expected, atol=1e-4)
    assert len(graphs._captured) == 6
    assert num_replays == 3 * 6


def test_a_batch_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: None)
    engine_dir = random_engine_dir(small_spec())
    program = Program(
        engine_dir.manifest.spec,
        load_weights(engine_dir, torch.float32, WeightUpload(CPU)),
        TorchOps(torch.float32),
        torch.float32,
    )
    graphs = Graphs(program, engine_dir.manifest.spec, TorchOps.query_block, CPU)
    graphs.max_tokens = 64
    assert graphs.run(random_batch([65]), "pooled") is None
    assert graphs.run(random_batch([64]), "pooled") is not None
