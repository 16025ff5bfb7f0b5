"""Step 3: the CPU engine on this machine: each instruction set, with all threads and with one."""

from importlib.util import find_spec

from openbei.backends import effective_threads, load_engine
from openbei.cli.bench import LENGTHS, flops_of, peak_flops, sequence_lengths, tokens_per_s
from tests.random_engine import random_engine_dir

from .run import Result, Run
from .shapes import spec_of

SECONDS = 0.5
BATCH_TOKENS = 8192


def run(run: Run) -> Result:
    """Tokens per second by length, and the share of the measured peak, for the best and the second-best level."""
    if find_spec("openbei._native") is None:
        return {"skipped": "openbei._native is not compiled here"}
    from openbei import _native

    levels = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]
    threads = effective_threads()
    result: Result = {"levels": levels}
    for name in ("MiniLM",) if run.is_tiny else ("MiniLM", "bge-base"):
        engine_dir = random_engine_dir(spec_of(name, run), "bfloat16")
        for isa, count in ((levels[0], threads), (levels[0], 1), (levels[min(1, len(levels) - 1)], threads)):
            engine = load_engine(engine_dir, device="cpu", isa=isa, threads=count)
            peak = peak_flops(engine.info, max(run.seconds(0.2), 0.001))
            speeds: dict[str, object] = {"peak_tflops": peak and peak / 1e12}
            for length in LENGTHS:
                lengths = sequence_lengths(length, 128 if run.is_tiny else BATCH_TOKENS, engine_dir.manifest)
                spec = engine_dir.manifest.spec
                speed = tokens_per_s(engine, lengths, spec, max(run.seconds(SECONDS), 1e-6))
                flops = speed * sum(flops_of(spec, n) for n in lengths) / sum(lengths)
                speeds[length] = {"tokens_per_s": speed, "share_of_peak": peak and flops / peak}
            result[f"{name}, {isa}, {count} threads"] = speeds
    return result
