"""Throughput of an engine against batch size and text length, as a section of a report."""

from collections.abc import Callable

from openbei.report.page import Section, Table
from openbei.report.scale import short_number
from openbei.report.svg import Chart, Line

Measure = Callable[[list[int]], float]
"""Lengths of the sequences in a batch → tokens per second."""

TEXT_TOKENS = (16, 64, 128, 256, 512)
NUM_TEXTS = (1, 4, 16, 64, 256)

Speeds = dict[int, dict[int, float]]
"""Tokens of a text → number of texts in a batch → tokens per second."""


def sweep(measure: Measure, *, batch_tokens: int, max_tokens: int) -> Speeds:
    """Measure batches of 1, 4, 16 … equal texts and full ones, for texts of several lengths."""
    lengths = [n for n in TEXT_TOKENS if n <= max_tokens] or [max_tokens]
    speeds: Speeds = {}
    for length in lengths:
        most = max(batch_tokens // length, 1)
        counts = [*(n for n in NUM_TEXTS if n < most), most]
        speeds[length] = {count: measure([length] * count) for count in counts}
    return speeds


def section(name: str, speeds: Speeds) -> Section:
    """Two charts and a table of the speeds of a model."""
    rows = [
        [f"{length}", f"{count:,}", f"{length * count:,}", f"{speed:,.0f}", f"{speed / length:,.1f}"]
        for length, by_count in speeds.items()
        for count, speed in by_count.items()
    ]
    table = Table(["tokens per text", "texts per batch", "tokens per batch", "tokens/s", "texts/s"], rows)
    paragraphs = ["Medians for batches of random texts of equal length, without tokenization and HTTP."]
    return Section("Throughput of the engine", table, [_by_batch(name, speeds), _by_length(name, speeds)], paragraphs)


def _by_batch(name: str, speeds: Speeds) -> Chart:
    lines = [
        Line(f"{length} tokens per text", [(float(length * count), speed) for count, speed in by_count.items()])
        for length, by_count in speeds.items()
    ]
    return Chart(
        title=f"Throughput of {name} by batch size",
        description=f"From the smallest to the largest batch: {_ends(lines)}. The table has all values.",
        x_label="tokens per batch",
        y_label="tokens per second",
        lines=lines,
        is_log_x=True,
    )


def _by_length(name: str, speeds: Speeds) -> Chart:
    full = [(float(length), list(by_count.values())[-1]) for length, by_count in speeds.items()]
    single = [(float(length), by_count[1]) for length, by_count in speeds.items() if 1 in by_count]
    lines = [Line("full batches", full), Line("one text at a time", single)]
    return Chart(
        title=f"Throughput of {name} by text length",
        description=f"From the shortest to the longest text: {_ends(lines)}. The table has all values.",
        x_label="tokens per text",
        y_label="tokens per second",
        lines=lines,
        is_log_x=True,
    )


def _ends(lines: list[Line]) -> str:
    return "; ".join(
        f"{line.name}, {short_number(line.points[0][1])} to {short_number(line.points[-1][1])} tokens/s"
        for line in lines
        if line.points
    )
