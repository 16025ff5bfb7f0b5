"""Step 9: where the time of a batch goes: each kernel's time on the GPU, and the host's time to start a batch."""

import time
from functools import partial

import torch
from torch.profiler import ProfilerActivity

from openbei.backends.cuda.engine import CudaEngine
from openbei.batch import PackedBatch
from openbei.spec import ModelSpec

from .models import KINDS, batches_of, lengths_of
from .run import Result, Run, attempt
from .shapes import engine_of, names_of, spec_of

COUNT = 5
MAX_KERNELS, MAX_NAME = 14, 90


def run(run: Run) -> Result:
    """Milliseconds of one batch by shape and length."""
    result: Result = {}
    for name in names_of(run):
        spec = spec_of(name, run)
        result[name] = attempt(partial(_profile, run, spec, is_float8=False))
        if spec.placement != "post":
            result[f"{name}, fp8"] = attempt(partial(_profile, run, spec, is_float8=True))
    return result


def _profile(run: Run, spec: ModelSpec, *, is_float8: bool) -> Result:
    engine = engine_of(spec, run, is_float8=is_float8)
    batch_tokens = 128 if run.is_tiny else engine.batch_tokens
    return {
        kind: _times(run, engine, batches_of(spec, lengths_of(kind, batch_tokens), 1)[0])
        for kind in (KINDS[:2] if is_float8 else KINDS)
    }


def _times(run: Run, engine: CudaEngine, batch: PackedBatch) -> Result:
    """The host's time to start a batch, and the kernels with the most time."""
    for _ in range(2):
        engine.run(batch)
    start = time.perf_counter()
    finish = engine.start(batch)
    started = time.perf_counter()
    finish()
    finished = time.perf_counter()
    activity = ProfilerActivity.CUDA if run.is_cuda else ProfilerActivity.CPU
    count = 1 if run.is_tiny else COUNT
    with torch.profiler.profile(activities=[activity]) as profiler:
        for _ in range(count):
            engine.run(batch)
    times: dict[str, tuple[float, int]] = {}
    for event in profiler.key_averages():
        microseconds = event.self_device_time_total if run.is_cuda else event.self_cpu_time_total
        times[event.key[:MAX_NAME]] = (microseconds / 1e3 / count, event.count // count)
    largest = sorted(times.items(), key=lambda item: -item[1][0])[:MAX_KERNELS]
    return {
        "start_ms": 1e3 * (started - start),
        "total_ms": 1e3 * (finished - start),
        "kernels_ms": sum(milliseconds for milliseconds, _ in times.values()),
        "largest": {name: [round(milliseconds, 4), calls] for name, (milliseconds, calls) in largest},
    }
