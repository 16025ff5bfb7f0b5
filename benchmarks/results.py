"""Results of a benchmark: a line of JSON, a table of rows with their targets, and the rows that the README shows."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table. `limit` is its target, None if it has none; `is_at_most` makes it an upper bound."""

    what: str
    value: float
    show: str = "{:.2f}"
    limit: float | None = None
    is_at_most: bool = False

    @property
    def is_kept(self) -> bool | None:
        """Whether the value meets its target; None without one."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.is_at_most else self.value >= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """What, target, value, yes or no."""
        limit = "" if self.limit is None else ("at most " if self.is_at_most else "") + self.show.format(self.limit)
        kept = {None: "", True: "yes", False: "**no**"}[self.is_kept]
        return self.what, limit, self.show.format(self.value), kept


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
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
"""Rows that the README shows -> their name there."""


def highlights(rows: Sequence[Row]) -> str:
    """Markdown: the rows of HIGHLIGHTS. Raises KeyError where one was not measured."""
    values = {row.what: row.show.format(row.value) for row in rows}
    lines = [("all-MiniLM-L6-v2, bfloat16", "measured"), ("---", "---")]
    lines += [(name, values[what]) for what, name in HIGHLIGHTS.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(name: str, setting: dict[str, Any], measured: dict[str, Any], rows: Sequence[Row]) -> None:
    """Print the line of JSON and the table of one benchmark."""
    print(json.dumps({"benchmark": name, **setting, **measured}), flush=True)
    if rows:
        print(f"\n{table(rows)}\n", flush=True)


def write_between_markers(path: Path, text: str, name: str) -> None:
    """Replace the text between the two markers of that name in a document."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def interleaved(contenders: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each contender, A B C A B C …, after one round that is not counted: noise affects all alike."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for repetition in range(repetitions + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if repetition:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times faster the second is: the median over rounds."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
