"""What a benchmark says: a line of JSON, and rows of a table with the threshold that each must keep."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table. `limit` None is for what is only told; `is_at_most` turns its sense around."""

    what: str
    value: float
    show: str = "{:.2f}"
    limit: float | None = None
    is_at_most: bool = False

    @property
    def is_kept(self) -> bool | None:
        """Whether the value keeps its limit; None without one."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.is_at_most else self.value >= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """What, limit, value, yes or no."""
        limit = "" if self.limit is None else ("at most " if self.is_at_most else "") + self.show.format(self.limit)
        kept = {None: "", True: "yes", False: "**no**"}[self.is_kept]
        return self.what, limit, self.show.format(self.value), kept


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    head = ("what", "at least", "measured", "kept")
    lines = [head, ("---",) * 4, *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(name: str, setting: dict[str, Any], measured: dict[str, Any], rows: Sequence[Row]) -> None:
    """Print the line of JSON and the table of one benchmark."""
    print(json.dumps({"benchmark": name, **setting, **measured}), flush=True)
    if rows:
        print(f"\n{table(rows)}\n", flush=True)


def write_between_markers(path: Path, text: str, name: str = "bench") -> None:
    """Replace what stands between the two markers of that name in a document."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = path.read_text().partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def interleaved(contenders: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each contender, A B C A B C …, after one round that is not counted: noise meets all alike."""
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
