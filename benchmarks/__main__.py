"""Run the benchmarks, print the table, and with --write put it into the README.

python -m benchmarks [--write] [--scale 0.01] [--shape bert-base]
                     [parity levels throughput models published tasks http wire startup memory roofline]
"""

import argparse
import datetime
import os
from pathlib import Path

from openbei.cli.info import cpu_name

from . import levels, memory, models, over_http, parity, published, roofline, startup, tasks, throughput, wire
from .results import table, write_between_markers
from .setting import Setting
from .shapes import SHAPES

BENCHMARKS = {
    "parity": parity.run,
    "levels": levels.run,
    "throughput": throughput.run,
    "models": models.run,
    "published": published.run,
    "tasks": tasks.run,
    "http": over_http.run,
    "wire": wire.run,
    "startup": startup.run,
    "memory": memory.run,
    "roofline": roofline.run,
}


def main() -> None:
    """Measure and tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure openbei and its peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {' '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the tables into docs/models.md, and, of all benchmarks, into README.md",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="measure less, to try the code")
    shapes = [shape.model for shape in SHAPES]
    parser.add_argument("--shape", action="append", default=[], choices=shapes, help="of models, only this one")
    parser.add_argument("--folder", type=Path, default=Path(".bench"), help="where models are built")
    arguments = parser.parse_args()
    names = arguments.names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    if arguments.write and arguments.shape:
        parser.error("the tables hold every shape: --write goes without --shape")
    os.environ["HF_HUB_OFFLINE"] = "1"  # the judges must not ask a hub about a local model
    arguments.folder.mkdir(parents=True, exist_ok=True)
    setting = Setting(arguments.folder.resolve(), arguments.scale, tuple(arguments.shape))
    rows = [row for name in names for row in BENCHMARKS[name](setting)]
    about = setting.about()
    text = f"{caption(about['engine'], setting.threads)}\n\n{table(rows)}"
    print(text)
    if arguments.write:
        if not arguments.names:
            write_between_markers(Path("README.md"), text)
        measured_on = caption(about["engine"], setting.threads)
        if "models" in names:
            write_between_markers(Path("docs/models.md"), f"{measured_on}\n\n{models.page_of(setting)}")
        if "published" in names:
            page = published.page_of(setting)
            write_between_markers(Path("docs/models.md"), f"{measured_on}\n\n{page}", "published")


def caption(engine: str, threads: int) -> str:
    """What the table was measured on, and what its ratios are worth there."""
    amx = "" if " amx_bf16 " in engine else (
        " This CPU has no AMX: the thresholds on throughput are meant for one that has, and tell less here."
    )  # fmt: skip
    today = datetime.date.today().isoformat()
    return f"{cpu_name()}, {threads} threads, {today}: {engine}. Every ratio is from one run, by turns.{amx}"


if __name__ == "__main__":
    main()
