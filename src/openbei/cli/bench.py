"""`bei bench`: throughput of a model on this machine, and latency of servers under load.

Comparisons with other libraries are in benchmarks/.
"""

import time

import click
import numpy as np

from openbei import __version__
from openbei.batch import Engine, EngineInfo, PackedBatch, Sequence, head_output
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.info import cpu_name
from openbei.cli.load_options import LoadArguments, load_options
from openbei.cli.logs import log_to_stderr
from openbei.cli.report_options import ReportArguments, report_options
from openbei.engine_dir import Manifest
from openbei.flops import flops_of
from openbei.model import Model
from openbei.quantization import QUANTIZATIONS
from openbei.report.page import Report, Section
from openbei.report.sweep import section, sweep
from openbei.spec import ModelSpec

LENGTHS = {"short": 17, "mixed": 90, "long": 512}
"""Mean number of tokens; mixed is 10 to 300."""


@click.command
@click.argument("target", required=False)
@click.option(
    "--seconds",
    default=2.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to measure each text length of TARGET; raise for more stable results.",
)
@click.option(
    "--batch-tokens",
    default=4096,
    type=click.IntRange(1),
    help="Tokens per batch; set to the --max-batch-tokens of your server to compare with it.",
)
@load_options
@report_options
@engine_options
def command(
    target: str | None,
    seconds: float,
    batch_tokens: int,
    load_arguments: LoadArguments,
    report_arguments: ReportArguments,
    engine_arguments: EngineArguments,
) -> None:
    """Measure the throughput of an engine, or the latency of servers under load.

    With TARGET, prints the tokens per second on random texts of three lengths and, for the native backend, the share of
    the CPU's peak. A report also shows throughput by batch size and text length.

    With --url, sends requests to running servers at random times, at several rates. Prints percentiles of latency,
    counted from the scheduled time of each request, the rate achieved, and errors.
    """
    if target is None and not load_arguments.urls:
        raise click.UsageError("give a TARGET, or a server with --url")
    log_to_stderr("warning")
    sections: list[Section] = []
    facts = [("CPU of this machine", cpu_name()), ("openbei", __version__)]
    if target is not None:
        with engine_arguments.open(target) as model:
            _print_speeds(model, seconds, batch_tokens)
            if report_arguments.is_given:
                facts.insert(0, ("engine", f"{model.name}, {model.engine.info}"))
                sections.append(_sweep(model, seconds, batch_tokens))
    if load_arguments.urls:
        under_load = load_arguments.measure()
        click.echo(f"{under_load.table.text()}\n{under_load.paragraphs[-1]}")
        facts += [("servers", load_arguments.addresses())]
        sections.append(under_load)
    report_arguments.write(Report("Benchmark", facts, sections))


def _print_speeds(model: Model, seconds: float, batch_tokens: int) -> None:
    """Measure and print tokens per second for the texts of LENGTHS."""
    engine, manifest = model.engine, model.manifest
    quantization = QUANTIZATIONS.get(manifest.quantization)
    multiplies_integers = quantization is not None and quantization.quantizes_inputs
    peak = None if multiplies_integers else peak_flops(engine.info, manifest.dtype, seconds / 8)
    click.echo(f"{model.name} on {cpu_name()}: {engine.info}")
    for name in LENGTHS:
        lengths = sequence_lengths(name, batch_tokens, manifest)
        speed = tokens_per_s(engine, lengths, manifest.spec, seconds)
        flops = speed * sum(flops_of(manifest.spec, n) for n in lengths) / sum(lengths)
        share = f"  {flops / peak:6.1%} of the matrix peak, {peak / 1e12:.2f} TFLOP/s" if peak and flops else ""
        click.echo(f"  {name:5}  {np.mean(lengths):5.0f} tokens  {speed:12,.0f} tokens/s{share}")


def _sweep(model: Model, seconds: float, batch_tokens: int) -> Section:
    """Throughput by batch size and text length."""
    speeds = sweep(
        lambda lengths: tokens_per_s(model.engine, lengths, model.manifest.spec, seconds / 8),
        batch_tokens=batch_tokens,
        max_tokens=model.manifest.max_sequence_tokens,
    )
    return section(model.name, speeds)


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


def peak_flops(info: EngineInfo, dtype: str, seconds: float) -> float | None:
    """The peak flop/s of the engine's matrix instruction for a dtype, and threads; None if it is not native."""
    if info.isa is None or info.threads is None:
        return None
    from openbei import _native

    return max(_native.peak_flops(info.isa, dtype, info.threads, seconds) for _ in range(4))
