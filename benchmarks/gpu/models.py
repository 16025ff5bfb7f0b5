"""Step 5: models end to end, from token ids to vectors, compared with the peers at the same sizes."""

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np

from openbei.backends.cuda.engine import CudaEngine
from openbei.batch import Finish, PackedBatch, Sequence
from openbei.cli.bench import mixed_lengths
from openbei.spec import ModelSpec

from . import peers
from .run import Result, Run, attempt
from .shapes import engine_of, executed_flops, names_of, spec_of

SECONDS, PEER_SECONDS = 1.5, 1.0
PEER_TOKENS = 16384
"""Tokens of all texts of a call; peers divide them into batches."""

KINDS = ("64", "512", "mixed")
"""Texts of 64, 512 and mixed numbers of tokens."""


def run(run: Run) -> Result:
    """Tokens per second and TFLOP/s of each shape, for texts of 64, 512 and mixed tokens."""
    result: Result = {}
    for name in names_of(run):
        spec = spec_of(name, run)
        result[name] = attempt(lambda spec=spec: _speeds(run, spec))
        if spec.placement != "post":
            result[f"{name}, fp8"] = attempt(lambda spec=spec: _speeds(run, spec, is_float8=True))
        result[f"{name}, peers"] = attempt(lambda spec=spec: _peer_speeds(run, spec))
    return result


def lengths_of(kind: str, batch_tokens: int) -> list[int]:
    """The lengths of the texts of a batch."""
    if kind != "mixed":
        length = min(int(kind), batch_tokens)
        return [length] * (batch_tokens // length)
    lengths: list[int] = []
    for length in mixed_lengths(batch_tokens):
        if sum(lengths) + length > batch_tokens:
            return lengths
        lengths.append(length)
    return lengths


def batches_of(spec: ModelSpec, lengths: list[int], count: int = 4) -> list[PackedBatch]:
    """Batches of random ids."""
    rng = np.random.default_rng(1)
    return [
        PackedBatch.pack(Sequence(rng.integers(spec.vocab_size, size=n, dtype=np.int32), n) for n in lengths)
        for _ in range(count)
    ]


def _speeds(run: Run, spec: ModelSpec, *, is_float8: bool = False) -> Result:
    engine = engine_of(spec, run, is_float8=is_float8)
    batch_tokens = 128 if run.is_tiny else engine.batch_tokens
    speeds: Result = {"precision": engine.info.precision, "batch_tokens": batch_tokens}
    for kind in KINDS:
        lengths = lengths_of(kind, batch_tokens)
        speed = _throughput(run, engine, batches_of(spec, lengths))
        flops = speed * sum(executed_flops(spec, n) for n in lengths) / sum(lengths)
        speeds[kind] = {"tokens_per_s": speed, "tflops": flops / 1e12}
    return speeds


def _throughput(run: Run, engine: CudaEngine, batches: list[PackedBatch]) -> float:
    """Tokens per second with two batches in flight."""
    in_flight: deque[Finish] = deque()
    for batch in batches[:2]:
        engine.run(batch)
    num_tokens, start = 0, time.perf_counter()
    while num_tokens == 0 or time.perf_counter() - start < run.seconds(SECONDS):
        for batch in batches:
            in_flight.append(engine.start(batch))
            num_tokens += batch.num_tokens
            if len(in_flight) == engine.max_in_flight:
                in_flight.popleft()()
    while in_flight:
        in_flight.popleft()()
    return num_tokens / (time.perf_counter() - start)


def _peer_speeds(run: Run, spec: ModelSpec) -> Result:
    """Tokens per second of each peer."""
    model = peers.model_of(run, spec)
    result: Result = {}
    for name, measure in (
        ("transformers", partial(peers.seconds_of_transformers, run, spec)),
        ("sentence-transformers", partial(peers.seconds_of_sentence_transformers, run)),
    ):
        result[name] = attempt(lambda measure=measure: _tokens_per_s(run, partial(measure, model)))
    return result


def _tokens_per_s(run: Run, seconds_of: Callable[[list[int], float], float]) -> Result:
    lengths = {kind: lengths_of(kind, 128 if run.is_tiny else PEER_TOKENS) for kind in KINDS}
    return {
        kind: {"tokens_per_s": sum(of_kind) / seconds_of(of_kind, PEER_SECONDS)} for kind, of_kind in lengths.items()
    }
