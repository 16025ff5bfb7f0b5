"""`bei bench`: throughput of a model on this machine. Comparisons with other libraries are in benchmarks/."""

import time

import click
import numpy as np

from openbei.batch import Engine, EngineInfo, PackedBatch, Sequence, head_output
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.info import cpu_name
from openbei.cli.logs import log_to_stderr
from openbei.engine_dir import Manifest
from openbei.flops import flops_of
from openbei.spec import ModelSpec

LENGTHS = {"short": 17, "mixed": 90, "long": 512}
"""Mean number of tokens; mixed is 10 to 300."""


@click.command
@click.argument("target")
@click.option(
    "--seconds",
    default=2.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to measure each text length; raise for more stable results.",
)
@click.option(
    "--batch-tokens",
    default=4096,
    type=click.IntRange(1),
    help="Tokens per batch; set to the --max-batch-tokens of your server to compare with it.",
)
@engine_options
def command(target: str, seconds: float, batch_tokens: int, engine_arguments: EngineArguments) -> None:
    """Measure tokens per second on random texts of three lengths.

    Prints the speed for short, mixed and long texts and, for the native backend, the share of the CPU's peak.
    """
    log_to_stderr("warning")
    with engine_arguments.open(target) as model:
        engine, manifest = model.engine, model.manifest
        peak = peak_flops(engine.info, seconds / 8)
        click.echo(f"{model.name} on {cpu_name()}: {engine.info}")
        for name in LENGTHS:
            lengths = sequence_lengths(name, batch_tokens, manifest)
            speed = tokens_per_s(engine, lengths, manifest.spec, seconds)
            flops = speed * sum(flops_of(manifest.spec, n) for n in lengths) / sum(lengths)
            share = f"  {flops / peak:6.1%} of the matrix peak, {peak / 1e12:.2f} TFLOP/s" if peak and flops else ""
            click.echo(f"  {name:5}  {np.mean(lengths):5.0f} tokens  {speed:12,.0f} tokens/s{share}")


def mixed_lengths(count: int, seed: int = 0) -> list[int]:
    """Lengths with a log-normal distribution, as in typical collections: 10 to 300 tokens, with a mean of 90."""
    lengths: list[int] = np.random.default_rng(seed).lognormal(4.28, 0.7, count).clip(10, 300).astype(int).tolist()
    return lengths


def sequence_lengths(name: str, batch_tokens: int, manifest: Manifest) -> list[int]:
    """The lengths of a batch's sequences, at most max_sequence_tokens."""
    mean = LENGTHS[name]
    num_sequences = max(batch_tokens // mean, 1)
    spread = mixed_lengths(num_sequences) if name == "mixed" else [mean] * num_sequences
    return [min(n, manifest.max_sequence_tokens) for n in spread]


def tokens_per_s(engine: Engine, lengths: list[int], spec: ModelSpec, seconds: float) -> float:
    """Median throughput of runs that take `seconds` in total, after a warm-up run."""
    rng, output = np.random.default_rng(1), head_output(spec.head)
    batch = PackedBatch.pack(Sequence(rng.integers(spec.vocab_size, size=n, dtype=np.int32), n) for n in lengths)
    engine.run(batch, output)
    times: list[float] = []
    while sum(times) < seconds:
        start = time.perf_counter()
        engine.run(batch, output)
        times.append(time.perf_counter() - start)
    return batch.num_tokens / float(np.median(times))


def peak_flops(info: EngineInfo, seconds: float) -> float | None:
    """The peak flop/s of the engine's matrix instruction and threads; None if the engine is not native."""
    if info.isa is None or info.threads is None:
        return None
    from openbei import _native

    return max(_native.peak_flops(info.isa, info.precision, info.threads, seconds) for _ in range(4))
