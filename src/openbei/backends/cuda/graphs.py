"""CUDA graphs: the operations of a padded batch as one launch, by the size of the batch and its output.

A graph reads one array of inputs and writes one array of rows, both at fixed addresses. Copies to and from them are in
the same stream as its launches, so several batches may be in flight. Graphs share their memory, since they run one
after another: if the largest batch is the first, all others fit in its memory. Only Triton operations can be captured:
they never wait for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from openbei.backends.cuda.inputs import host_arrays, inputs_of
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.tiles import SIZES, Bucket, bucket_for
from openbei.backends.cuda.transfer import upload_arrays
from openbei.batch import Output, PackedBatch
from openbei.flops import flops_of
from openbei.spec import ModelSpec

MAX_LAYER_FLOPS = 6e11
"""The largest number of operations of a layer, for the tokens of a batch, that runs as a graph.

The launches of a layer take the host about 0.5 ms, measured on an H200 with a Xeon. A GPU with 6·10¹⁴ operations a
second takes twice as long for a layer of this size, so that graphs of larger batches would only compute padding.
"""


def max_graph_tokens(spec: ModelSpec) -> int:
    """The most tokens of a batch that runs as a graph."""
    by_layer = MAX_LAYER_FLOPS * max(spec.num_layers, 1) / max(flops_of(spec, 1), 1)
    return max((size for size in SIZES if size <= by_layer), default=0)


@dataclass(slots=True)
class _Captured:
    """The inputs of one batch size, and once it is captured, the graph and its output rows."""

    inputs: Tensor
    graph: torch.cuda.CUDAGraph | None = None
    rows: Tensor | None = None


class Graphs:
    """Runs batches of up to `max_tokens` tokens as graphs.

    The first batch of a size runs without a graph, to compile kernels and allocate workspaces. The second is captured.
    """

    def __init__(self, program: Program, spec: ModelSpec, block: int, device: torch.device) -> None:
        self._program, self._spec, self._block, self._device = program, spec, block, device
        self.max_tokens = max_graph_tokens(spec)
        self._captured: dict[tuple[Bucket, Output], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, batch: PackedBatch, output: Output) -> Tensor | None:
        """The padded rows of a batch, valid until the next launch in the stream; None if the batch is too large."""
        bucket = bucket_for(batch.num_tokens, batch.num_sequences)
        if bucket is None or bucket.num_tokens > self.max_tokens:
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
