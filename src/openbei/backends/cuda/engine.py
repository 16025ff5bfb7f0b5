"""The engine: starts batches on a device without waiting, so that the host prepares one batch while another runs."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor

from openbei.backends.batch_check import check_batch, check_output
from openbei.backends.cuda.graphs import Graphs
from openbei.backends.cuda.inputs import host_arrays, inputs_of
from openbei.backends.cuda.ops import Ops
from openbei.backends.cuda.program import Program
from openbei.backends.cuda.transfer import download, upload_arrays
from openbei.batch import (
    EngineInfo,
    Finish,
    Output,
    PackedBatch,
    Rows,
    SparseVectors,
    Vectors,
    concatenate,
    head_output,
)
from openbei.errors import EngineError, EngineLostError
from openbei.spec import ModelSpec, TermHead, TokenTermHead

MAX_TERMS = 1 << 26
"""The maximum size of the dense array of term weights of a run, in elements."""

_log = logging.getLogger(__name__)


class CudaEngine:
    """Runs packed batches on one device. See `openbei.batch.Engine`.

    `max_sequence_tokens` is the limit of the engine directory. `graphs` is None on a CPU and in float32.
    """

    max_in_flight = 2

    def __init__(
        self,
        spec: ModelSpec,
        program: Program,
        ops: Ops,
        *,
        max_sequence_tokens: int,
        batch_tokens: int,
        device: torch.device,
        info: EngineInfo,
        graphs: Graphs | None = None,
    ) -> None:
        self.info, self.batch_tokens = info, batch_tokens
        self._spec, self._program, self._block, self._graphs = spec, program, ops.query_block, graphs
        self._max_sequence_tokens, self._device = max_sequence_tokens, device

    @property
    def graph_tokens(self) -> int:
        """The most tokens of a batch that runs as a CUDA graph."""
        return min(self._graphs.max_tokens, self.batch_tokens) if self._graphs else 0

    def warm_up(self) -> None:
        """Compile kernels, and capture graphs of the largest batch, whose memory all others reuse, and of one token.

        Raises EngineError if a batch fails.
        """
        for num_tokens in (self.graph_tokens, 1):
            bounds = np.append(np.arange(0, num_tokens, self._max_sequence_tokens), num_tokens).astype(np.int32)
            for _ in range(2 * bool(num_tokens)):  # the second is captured
                self.run(PackedBatch(np.zeros(num_tokens, np.int32), bounds), head_output(self._spec.head))

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """See `Engine`."""
        return self.start(batch, output)()

    def wake(self) -> None:
        """See `Engine`. No thread sleeps."""

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        """See `Engine`. A batch that does not fit in memory is split.

        Start and finish raise EngineLostError for an error that leaves the device unusable.
        """
        check_batch(batch, self._spec, self._max_sequence_tokens)
        check_output(output, self._spec)
        if isinstance(self._spec.head, TermHead) and output == "pooled":
            most = max(MAX_TERMS // self._spec.vocab_size, 1)
            if batch.num_sequences > most:
                return self._start_parts(batch, output, most)
        try:
            with torch.inference_mode(), self._as_current():
                return self._start(batch, output)
        except torch.OutOfMemoryError as error:
            if batch.num_sequences == 1:
                raise EngineError(
                    f"the GPU has too little free memory for a text of {batch.num_tokens} tokens: {error}",
                    hint="lower max_num_tokens, or use a GPU with more memory",
                ) from error
        except RuntimeError as error:
            raise self._failure(error) from error
        _log.warning("a batch of %d tokens does not fit in GPU memory; it is split", batch.num_tokens)
        with self._as_current():
            torch.cuda.empty_cache()
        return self._start_parts(batch, output, -(-batch.num_sequences // 2))

    def _as_current(self) -> AbstractContextManager[object]:
        """Make a GPU the thread's current device, whose stream and allocator are used."""
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _start_parts(self, batch: PackedBatch, output: Output, num_sequences: int) -> Finish:
        """Start a batch as several, of `num_sequences` each."""
        starts = range(0, batch.num_sequences, num_sequences)
        parts = (batch.part(start, min(start + num_sequences, batch.num_sequences)) for start in starts)
        finishes = [self.start(part, output) for part in parts]
        return lambda: concatenate([finish() for finish in finishes])

    def _start(self, batch: PackedBatch, output: Output) -> Finish:
        rows = self._graphs.run(batch, output) if self._graphs else None
        if rows is None:
            arrays = host_arrays(self._spec, batch, self._block)
            inputs = inputs_of(*upload_arrays(arrays, self._device), self._block)
            rows = self._program.run(inputs, output)
        wait = download(rows[: self._num_rows(batch, output)])
        return partial(self._finish, batch, output, wait)

    def _num_rows(self, batch: PackedBatch, output: Output) -> int:
        """The rows that the program returns; for `TokenTermHead` one for each token."""
        return batch.num_tokens if isinstance(self._spec.head, TokenTermHead) else batch.num_rows(output)

    def _finish(self, batch: PackedBatch, output: Output, wait: Callable[[], Vectors]) -> Rows:
        try:
            rows = wait()
        except RuntimeError as error:
            raise self._failure(error) from error
        if output == "tokens":
            return rows
        match self._spec.head:
            case TermHead():
                return SparseVectors.of(rows)
            case TokenTermHead():
                return SparseVectors.of_tokens(batch, rows[:, 0], self._spec.vocab_size)
        return rows

    def _failure(self, error: RuntimeError) -> EngineError:
        """The exception for a failed batch, which depends on whether the device still works."""
        if self._works():
            return EngineError(f"the GPU failed to run a batch: {error}")
        return EngineLostError(f"the GPU can run nothing more: {error}", hint="restart the process")

    def _works(self) -> bool:
        """Whether the device still runs operations; after an illegal access it refuses them all."""
        try:
            probe: Tensor = torch.ones(1, device=self._device) + 1
            return bool(np.all(probe.cpu().numpy() == 2))
        except RuntimeError:
            return False
