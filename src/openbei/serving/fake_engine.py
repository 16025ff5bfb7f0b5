"""An engine without a model, for tests and for benchmarks of the server."""

import time
from functools import partial

import numpy as np

from openbei.batch import PER_TOKEN, EngineInfo, Finish, Output, PackedBatch, Rows, SparseVectors, Vectors
from openbei.errors import EngineError


class FakeEngine:
    """Returns vectors that are a function of the token ids, so tests can detect mixed-up responses.

    Each row is normally distributed and seeded by the ids of its sequence, or by the id of its token. With `is_sparse`
    pooled rows are term weights. Each run sleeps `delay_s`; a batch with `failing_token_id` raises EngineError.
    """

    def __init__(
        self,
        hidden_size: int = 8,
        *,
        is_sparse: bool = False,
        delay_s: float = 0.0,
        failing_token_id: int | None = None,
    ) -> None:
        self.hidden_size = hidden_size
        self.is_sparse = is_sparse
        self.delay_s = delay_s
        self.failing_token_id = failing_token_id

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        return EngineInfo(backend="fake", device="cpu", precision="float32")

    @property
    def batch_tokens(self) -> int:
        """See `Engine`."""
        return 1024

    @property
    def max_in_flight(self) -> int:
        """See `Engine`."""
        return 1

    def wake(self) -> None:
        """See `Engine`. There are no threads."""

    def start(self, batch: PackedBatch, output: Output = "pooled") -> Finish:
        """See `Engine`. The batch runs when it is finished."""
        return partial(self.run, batch, output)

    def run(self, batch: PackedBatch, output: Output = "pooled") -> Rows:
        """Rows of `hidden_size` columns, whatever the output."""
        time.sleep(self.delay_s)
        if self.failing_token_id is not None and self.failing_token_id in batch.token_ids:
            raise EngineError(f"the batch has the failing token id {self.failing_token_id}")
        boundaries = range(1, batch.num_tokens) if output in PER_TOKEN else batch.cu_seqlens[1:-1]
        rows = np.stack([self.vector(ids) for ids in np.split(batch.token_ids, boundaries)])
        return SparseVectors.of(rows) if self.is_sparse and output == "pooled" else rows

    def vector(self, token_ids: np.ndarray) -> Vectors:
        """The row for these ids, float32 [hidden_size]."""
        seed = np.asarray(token_ids, np.uint32)
        return np.random.default_rng(seed).standard_normal(self.hidden_size, dtype=np.float32)
