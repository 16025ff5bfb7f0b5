"""Run the benchmarks and print the table; --write also updates docs/benchmarks.md and the highlights in README.md.

python -m benchmarks [--write] [--scale 0.01] [--shape bert-base]
                     [parity levels throughput models published tasks http latency tokenization wire startup memory
                      roofline bulk]
"""

import argparse
import datetime
import os
from pathlib import Path

from openbei.cli.info import cpu_name

from . import (
    bulk,
    latency,
    levels,
    memory,
    models,
    over_http,
    parity,
    published,
    roofline,
    startup,
    tasks,
    throughput,
    tokenization,
    wire,
)
from .results import highlights, table, write_between_markers
from .setting import Setting
from .shapes import SHAPES

PAGE = Path("docs/benchmarks.md")
BENCHMARKS = {
    "parity": parity.run,
    "levels": levels.run,
    "throughput": throughput.run,
    "models": models.run,
    "published": published.run,
    "tasks": tasks.run,
    "http": over_http.run,
    "latency": latency.run,
    "tokenization": tokenization.run,
    "wire": wire.run,
    "startup": startup.run,
    "memory": memory.run,
    "roofline": roofline.run,
    "bulk": bulk.run,
}


def main() -> None:
    """Run the benchmarks named on the command line, print the table, and write it with --write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure openbei and its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {' '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the tables into docs/benchmarks.md; a run of all benchmarks also updates README.md",
    )
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the full measurement, for a quick test of the code"
    )
    shapes = [shape.model for shape in SHAPES]
    parser.add_argument(
        "--shape", action="append", default=[], choices=shapes, help="run the benchmark `models` for this shape only"
    )
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="where models are built")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    if arguments.write and arguments.shape:
        parser.error("--write needs every shape; omit --shape")
    os.environ["HF_HUB_OFFLINE"] = "1"  # the peers must not look up a local model on the Hub
    arguments.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(arguments.folder.resolve(), arguments.scale, tuple(arguments.shape))
    rows = [row for name in names for row in BENCHMARKS[name](setting)]
    engine = setting.about()["engine"]
    measured_on = caption(engine, setting.threads)
    text = f"{measured_on}{about_targets(engine)}\n\n{table(rows)}"
    print(text)
    if arguments.write:
        if not arguments.names:
            write_between_markers(PAGE, text, "bench")
            write_between_markers(Path("README.md"), f"{measured_on}\n\n{highlights(rows)}", "highlights")
        for name, benchmark in (("models", models), ("published", published)):
            if name in names:
                write_between_markers(PAGE, f"{measured_on}\n\n{benchmark.page_of(setting)}", name)


def caption(engine: str, threads: int) -> str:
    """The machine and date of a table."""
    today = datetime.date.today().isoformat()
    machine = f"{cpu_name()}, {threads} threads, {today}: {engine}"
    return f"{machine}. Each ratio is from one run in which the contenders alternate."


def about_targets(engine: str) -> str:
    """Whether the throughput targets apply to the CPU."""
    if " amx_bf16 " in engine:
        return ""
    return " This CPU has no AMX; the throughput targets are meant for CPUs that have it."


if __name__ == "__main__":
    main()
