"""Accuracy of every instruction-set level: the share of its tests against the reference backend that pass."""

import re
import subprocess
import sys

from openbei import _native

from .results import Row, report
from .setting import Setting


def run(setting: Setting) -> list[Row]:
    """Run `tests/native` for all levels that this CPU supports, and report the share that passes."""
    supported = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]
    command = [sys.executable, "-m", "pytest", "tests/native", "--color=no", "-o", "addopts="]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
    counts = {outcome: int(number) for number, outcome in re.findall(r"(\d+) (passed|failed|errors?)\b", output)}
    share = counts.get("passed", 0) / max(sum(counts.values()), 1)
    rows = [Row(f"levels {', '.join(supported)} against the reference, tests passed", share, "{:.0%}", 1.0)]
    report("levels", setting.about(), counts, rows)
    return rows
