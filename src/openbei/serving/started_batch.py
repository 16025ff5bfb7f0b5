"""A batch in flight: started on the engine, and not finished."""

import time
from dataclasses import dataclass
from typing import Generic

from openbei.batch import Engine, Finish, PackedBatch, Rows
from openbei.errors import EngineError
from openbei.serving.packing import Batch, R


@dataclass(frozen=True, slots=True)
class StartedBatch(Generic[R]):
    """A batch in flight; `finish` is the exception if it did not start, `num_rows` the expected number of rows."""

    batch: Batch[R]
    start_s: float
    num_rows: int
    finish: Finish | BaseException

    def result(self) -> Rows | BaseException:
        """Wait for the rows of the batch, or return the exception."""
        if isinstance(self.finish, BaseException):
            return self.finish
        try:
            rows = self.finish()
        except BaseException as error:
            return error
        if len(rows) != self.num_rows:
            return EngineError(f"the engine returned {len(rows)} rows instead of {self.num_rows}")
        return rows


def start_batch(engine: Engine, batch: Batch[R]) -> StartedBatch[R]:
    """Start a batch. Catches all exceptions, even SystemExit, which must not end the engine's thread."""
    start_s = time.monotonic()
    try:
        packed = PackedBatch.pack(batch.sequences)
        return StartedBatch(batch, start_s, packed.num_rows(batch.output), engine.start(packed, batch.output))
    except BaseException as error:
        return StartedBatch(batch, start_s, 0, error)
