"""`bei compare`: accuracy, speed and memory of two models."""

import ctypes
import gc
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from openbei import __version__
from openbei.accuracy import Texts
from openbei.cli.bench import LENGTHS, sequence_lengths, tokens_per_s
from openbei.cli.engine_options import EngineArguments, engine_options
from openbei.cli.info import cpu_name
from openbei.cli.logs import log_to_stderr
from openbei.cli.report_options import ReportArguments, report_options
from openbei.comparison import Differences, Results, check_comparable, compare, results_of
from openbei.engine_dir import Manifest
from openbei.report.page import Report, Section, Table
from openbei.report.svg import Chart, Line

BATCH_TOKENS = 4096
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Side:
    """One of the two models: its results, and what it costs."""

    target: str
    engine: str
    results: Results
    speeds: dict[str, tuple[float, float]]
    """Name of a text length → mean number of tokens, and tokens per second."""
    weights_bytes: int
    peak_bytes: int | None
    """How much the resident memory of the process grew while the model ran, at most; None if it is not known."""


@click.command
@click.argument("a")
@click.argument("b")
@click.option(
    "--texts",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of texts to compare on, one per line, at least 20; every fifth one is also a query.  "
    "[default: texts of openbei]",
)
@click.option(
    "--seconds",
    default=2.0,
    type=click.FloatRange(0, min_open=True),
    help="Seconds to measure the speed at each text length.",
)
@report_options
@engine_options
def command(
    a: str,
    b: str,
    path: Path | None,
    seconds: float,
    report_arguments: ReportArguments,
    engine_arguments: EngineArguments,
) -> None:
    """Compare two models: accuracy on your texts, speed and memory.

    A and B are TARGETs of one task, such as a bfloat16 and a quantized engine of a model. B is compared with A.
    """
    log_to_stderr("warning")
    texts = Texts.read(path)
    _load_libraries(a, engine_arguments)
    one = _measure(a, engine_arguments, texts, seconds)
    other = _measure(b, engine_arguments, texts, seconds, one.results.manifest)
    differences = compare(one.results, other.results, texts)
    report = _report(one, other, differences, f"{len(texts.documents)} documents, {len(texts.queries)} queries")
    for section in report.sections:
        click.echo("\n".join([section.heading, section.table.text(), *section.paragraphs, ""]))
    report_arguments.write(report)


def _load_libraries(target: str, engine_arguments: EngineArguments) -> None:
    """Run a model once: what a process loads only once would count as memory of the first model."""
    with engine_arguments.open(target) as model:
        model.tokenizer.encode(["a text"])
        tokens_per_s(model.engine, [1], model.manifest.spec, 1e-9)


def _measure(
    target: str,
    engine_arguments: EngineArguments,
    texts: Texts,
    seconds: float,
    comparable_with: Manifest | None = None,
) -> Side:
    """Run a model on the texts, then measure its speed. Raises InputError if it cannot be compared with another one."""
    start = _reset_peak()
    with engine_arguments.open(target) as model:
        manifest = model.manifest
        if comparable_with:
            check_comparable(comparable_with, manifest)
        results = results_of(model, texts)
        speeds = {}
        for name in LENGTHS:
            lengths = sequence_lengths(name, BATCH_TOKENS, manifest)
            speed = tokens_per_s(model.engine, lengths, manifest.spec, seconds)
            speeds[name] = (sum(lengths) / len(lengths), speed)
        peak, engine = _memory("VmHWM"), str(model.engine.info)
    weights = sum(record.bytes for name, record in manifest.files.items() if name.endswith(".safetensors"))
    grown = None if peak is None or start is None else peak - start
    return Side(target, engine, results, speeds, weights, grown)


def _reset_peak() -> int | None:
    """Start a new measurement of the process's peak memory; the resident memory now. None if that is not possible."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)  # free memory that the last model's heap still occupies
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _memory("VmRSS")


def _memory(field: str) -> int | None:
    """A field of the process's status, in bytes; None where there is no such file."""
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def _report(one: Side, other: Side, differences: Differences, about_texts: str) -> Report:
    facts = [(name, f"{side.target} ({side.engine})") for name, side in (("A", one), ("B", other))]
    facts += [("texts", about_texts), ("CPU", cpu_name()), ("openbei", __version__)]
    rows = [[name, f"{figure:.6g}"] for name, figure in differences.figures.items()]
    worst = [f"Least similar ({cosine:.4f}): {_shortened(text)}" for text, cosine in differences.worst]
    if not worst and one.results.manifest.spec.task == "embedding":
        worst = ["The embeddings have different sizes, so only their rankings are compared."]
    accuracy = Section("Accuracy: B compared with A", Table(["figure", "value"], rows), paragraphs=worst)
    return Report("Comparison of two models", facts, [accuracy, _speed(one, other), _size(one, other)])


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[: SHOWN_CHARACTERS - 1]}…"


def _speed(one: Side, other: Side) -> Section:
    rows = []
    for name, (tokens, speed) in one.speeds.items():
        other_tokens, other_speed = other.speeds[name]
        length = f"{tokens:.0f}" if round(tokens) == round(other_tokens) else f"{tokens:.0f}, {other_tokens:.0f}"
        rows.append(
            [f"{name} texts, {length} tokens", f"{speed:,.0f}", f"{other_speed:,.0f}", f"{other_speed / speed:.2f}"]
        )
    chart = Chart(
        title="Throughput by text length",
        description="; ".join(f"{row[0]}: A {row[1]}, B {row[2]} tokens/s" for row in rows),
        x_label="tokens per text",
        y_label="tokens per second",
        lines=[Line(name, sorted(side.speeds.values())) for name, side in (("A", one), ("B", other))],
        is_log_x=True,
    )
    return Section("Speed", Table(["texts", "A tokens/s", "B tokens/s", "B / A"], rows), [chart])


def _size(one: Side, other: Side) -> Section:
    rows = [["weights", *_megabytes(one.weights_bytes, other.weights_bytes)]]
    if one.peak_bytes is not None and other.peak_bytes is not None:
        rows.append(["peak of resident memory", *_megabytes(one.peak_bytes, other.peak_bytes)])
    return Section("Memory", Table(["", "A MB", "B MB", "B / A"], rows))


def _megabytes(one: int, other: int) -> list[str]:
    return [f"{one / 1e6:,.1f}", f"{other / 1e6:,.1f}", f"{other / max(one, 1):.2f}"]
