"""CUDA graphs: the operations of a padded batch as one launch, by the size of the batch and its output.

A graph reads one array of inputs and writes one array of rows, both at fixed addresses. Copies to and from them are in
the same stream as its launches, so several batches may be in flight. Graphs share their memory, since they run one
after another. Only Triton operations can be captured: they never wait for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openbei.backends.cuda.inputs import host_arrays, inputs_of
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.tiles import Bucket, bucket_for
from openbei.backends.cuda.transfer import upload_arrays
from openbei.batch import Output, PackedBatch
from openbei.spec import ModelSpec

MAX_TOKENS = 4096
"""Larger batches take longer on the GPU than their launches take on the CPU, and would compute padding."""


@dataclass(slots=True)
class _Captured:
    """The inputs of one batch size, and once it is captured, the graph and its output rows."""

    inputs: Tensor
    graph: torch.cuda.CUDAGraph | None = None
    rows: Tensor | None = None


class Graphs:
    """Runs batches of up to MAX_TOKENS tokens as graphs.

    The first batch of a size runs without a graph, to compile kernels and allocate workspaces. The second is captured.
    """

    def __init__(self, program: Program, spec: ModelSpec, block: int, device: torch.device) -> None:
        self._program, self._spec, self._block, self._device = program, spec, block, device
        self._captured: dict[tuple[Bucket, Output], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, batch: PackedBatch, output: Output) -> Tensor | None:
        """The padded rows of a batch, valid until the next launch in the stream; None if the batch is too large."""
        bucket = bucket_for(batch.num_tokens, batch.num_sequences)
        if bucket is None or bucket.num_tokens > MAX_TOKENS:
            return None
        arrays = host_arrays(self._spec, batch, self._block, bucket)
        captured = self._captured.get((bucket, output))
        packed, places = upload_arrays(arrays, self._device, captured and captured.inputs)
        if captured is None:
            self._captured[bucket, output] = _Captured(packed)
            return self._program.run(inputs_of(packed, places, self._block), output)
        if captured.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                captured.rows = self._program.run(inputs_of(packed, places, self._block), output)
            captured.graph = graph
        captured.graph.replay()
        return captured.rows
