"""Step 3: the CPU engine on this machine: each instruction set, in 16 and 8 bits, and numbers of threads."""

from functools import partial
from importlib.util import find_spec

from openbei.backends import effective_threads, load_engine
from openbei.cli.bench import LENGTHS, peak_flops, sequence_lengths, tokens_per_s
from openbei.engine_dir import EngineDir
from openbei.flops import flops_of
from openbei.quantization import NO_QUANTIZATION
from tests.random_engine import random_engine_dir

from .run import Result, Run, attempt
from .shapes import spec_of

SECONDS = 0.3
BATCH_TOKENS = 8192

QUANTIZED = "smooth_quant"


def run(run: Run) -> Result:
    """Tokens per second by length, and the share of the measured peak.

    For the best level by numbers of threads, in 16 and in 8 bits; and for all levels with all threads.
    """
    if find_spec("openbei._native") is None:
        return {"skipped": "openbei._native is not compiled here"}
    from openbei import _native

    levels = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]
    threads = effective_threads()
    result: Result = {"levels": levels}
    counts = sorted({1, max(threads // 4, 1), max(threads // 2, 1), threads})
    for name in ("MiniLM",) if run.is_tiny else ("MiniLM", "bge-base"):
        for quantization in (NO_QUANTIZATION, QUANTIZED):
            engine_dir = random_engine_dir(spec_of(name, run), "bfloat16", quantization=quantization)
            for isa, count in [(levels[0], count) for count in counts] + [(isa, threads) for isa in levels[1:]]:
                label = f"{name}, {quantization}, {isa}, {count} threads"
                result[label] = attempt(partial(_speeds, run, engine_dir, isa, count))
    return result


def _speeds(run: Run, engine_dir: EngineDir, isa: str, threads: int) -> Result:
    engine = load_engine(engine_dir, device="cpu", isa=isa, threads=threads)
    spec = engine_dir.manifest.spec
    is_plain = engine_dir.manifest.quantization == NO_QUANTIZATION
    peak = peak_flops(engine.info, engine.info.precision, max(run.seconds(0.1), 0.001)) if is_plain else None
    speeds: Result = {"peak_tflops": peak and peak / 1e12}
    for length in LENGTHS:
        lengths = sequence_lengths(length, 128 if run.is_tiny else BATCH_TOKENS, engine_dir.manifest)
        speed = tokens_per_s(engine, lengths, spec, max(run.seconds(SECONDS), 1e-6))
        flops = speed * sum(flops_of(spec, n) for n in lengths) / sum(lengths)
        speeds[length] = {"tokens_per_s": speed, "share_of_peak": peak and flops / peak}
    return speeds
