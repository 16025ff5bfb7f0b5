"""Results of benchmarks: a line of JSON, a table of measurements and targets, and the highlights of the README."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One row of the table.

    `limit` is the target, if there is one: an upper bound if `is_at_most`, else a lower bound.
    """

    name: str
    value: float
    number_format: str = "{:.2f}"
    limit: float | None = None
    is_at_most: bool = False

    @property
    def is_met(self) -> bool | None:
        """Whether the value meets its target; None without a target."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.is_at_most else self.value >= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """Name, target, value, and whether the target is met."""
        limit = (
            ""
            if self.limit is None
            else ("at most " if self.is_at_most else "") + self.number_format.format(self.limit)
        )
        met = {None: "", True: "yes", False: "**no**"}[self.is_met]
        return self.name, limit, self.number_format.format(self.value), met


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = ("measurement", "target", "measured", "met")
    lines = [head, ("---",) * 4, *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


HIGHLIGHTS = {
    "throughput in process, mixed, × sentence-transformers float32": "throughput, × sentence-transformers float32",
    "throughput in process, mixed, × OpenVINO bf16": "throughput, × OpenVINO bfloat16",
    "bert-base shape, mixed, × transformers bf16": "throughput, bert-base shape, × transformers bfloat16",
    "Qwen3-0.6B shape, mixed, × transformers bf16": "throughput, Qwen3-0.6B shape, × transformers bfloat16",
    "rerank in process, mixed, × sentence-transformers float32": "reranking, × sentence-transformers float32",
    "HTTP throughput, 32 connections × 1 text, share of in process": "HTTP throughput, share of in-process throughput",
    "one short query over HTTP, idle server, p50, ms": "one short query over HTTP, median, ms",
    "process start to first embedding, s": "process start to first response, s",
    "resident memory after 10,000 mixed texts, MB": "resident memory of the server, MB",
    "cosine to sentence-transformers float32, bfloat16, worst of 500": (
        "worst cosine similarity to sentence-transformers float32, 500 texts"
    ),
}
"""Row name -> name in the README."""


def highlights(rows: Sequence[Row]) -> str:
    """The rows of HIGHLIGHTS as a Markdown table. Raises KeyError if one was not measured."""
    values = {row.name: row.number_format.format(row.value) for row in rows}
    lines = [("all-MiniLM-L6-v2, bfloat16", "measured"), ("---", "---")]
    lines += [(name, values[row_name]) for row_name, name in HIGHLIGHTS.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(name: str, setting: dict[str, Any], measured: dict[str, Any], rows: Sequence[Row]) -> None:
    """Print the results of one benchmark as a line of JSON and a table."""
    print(json.dumps({"benchmark": name, **setting, **measured}), flush=True)
    if rows:
        print(f"\n{table(rows)}\n", flush=True)


def write_between_markers(path: Path, text: str, name: str) -> None:
    """Replace the text between the markers `name` in a document."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def interleaved(contenders: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each contender per round, after a warm-up round.

    Contenders alternate, so noise affects all equally.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if repetition:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The speedup of `fast` over `slow`: the median over rounds."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
