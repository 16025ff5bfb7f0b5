"""Step 6: the latency of one short text in process, with and without a CUDA graph."""

import statistics
import time

from openbei.backends.cuda.engine import CudaEngine
from openbei.batch import PackedBatch

from .models import batches_of
from .run import Result, Run, attempt
from .shapes import engine_of, names_of, spec_of

NUM_TOKENS, COUNT = 16, 300


def run(run: Run) -> Result:
    """Median and 99th percentile in milliseconds by shape."""
    return {name: attempt(lambda name=name: _latencies(run, name)) for name in names_of(run)}


def _latencies(run: Run, name: str) -> Result:
    spec = spec_of(name, run)
    engine = engine_of(spec, run)
    [batch] = batches_of(spec, [NUM_TOKENS], 1)
    with_graph = _measured(run, engine, batch)
    engine._graphs = None
    return {"graph": with_graph if run.is_cuda else None, "eager": _measured(run, engine, batch)}


def _measured(run: Run, engine: CudaEngine, batch: PackedBatch) -> Result:
    times = []
    for _ in range(5 if run.is_tiny else COUNT):
        start = time.perf_counter()
        engine.run(batch)
        times.append(1e3 * (time.perf_counter() - start))
    measured = times[3:]  # the first ones compile and capture
    return {"p50_ms": statistics.median(measured), "p99_ms": sorted(measured)[int(0.99 * len(measured))]}
