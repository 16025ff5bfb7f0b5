"""CUDA graphs: the operations of a padded batch as one launch, by the size of the batch and its output.

A graph reads one array of inputs at a fixed address, and writes its rows to memory that all graphs share. Copies to and
from them are in the same stream as its launches, so several batches may be in flight. Graphs also share the memory of
their operations, since they run one after another: if the largest batch is the first, all others fit in its memory.
Only Triton operations can be captured: they never wait for the device.
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
    """The inputs and output rows of one batch size, and its graph once it is captured."""

    inputs: Tensor
    rows: Tensor
    graph: torch.cuda.CUDAGraph | None = None


class Graphs:
    """Runs batches of up to `max_tokens` tokens as graphs.

    The first batch of a size runs without a graph, to compile kernels and allocate workspaces. The second is captured.
    """

    def __init__(self, program: Program, spec: ModelSpec, block: int, device: torch.device) -> None:
        self._program, self._spec, self._block, self._device = program, spec, block, device
        self.max_tokens = max_graph_tokens(spec)
        self._captured: dict[tuple[Bucket, Output], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._rows = torch.empty(0, dtype=torch.float32, device=device)

    def run(self, batch: PackedBatch, output: Output) -> Tensor | None:
        """The padded rows of a batch, valid until the next launch in the stream; None if the batch is too large."""
        bucket = bucket_for(batch.num_tokens, batch.num_sequences)
        if bucket is None or bucket.num_tokens > self.max_tokens:
            return None
        arrays = host_arrays(self._spec, batch, self._block, bucket)
        captured = self._captured.get((bucket, output))
        packed, places = upload_arrays(arrays, self._device, captured and captured.inputs)
        if captured is None:
            rows = self._program.run(inputs_of(packed, places, self._block), output)
            self._captured[bucket, output] = _Captured(packed, self._room_for(rows))
            return rows
        if captured.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                captured.rows.copy_(self._program.run(inputs_of(packed, places, self._block), output))
            captured.graph = graph
        captured.graph.replay()
        return captured.rows

    def _room_for(self, rows: Tensor) -> Tensor:
        """Memory for the rows of a graph: that of the other graphs, if it is large enough."""
        if self._rows.numel() < rows.numel():
            self._rows = torch.empty(rows.numel(), dtype=torch.float32, device=rows.device)
        return self._rows[: rows.numel()].view(rows.shape)
