"""Is every instruction-set level right? The tests that hold each against the reference, run here and counted."""

import re
import subprocess
import sys

from openbei import _native

from .results import Row, report
from .setting import Setting


def run(setting: Setting) -> list[Row]:
    """The share of `tests/native` that passes: all levels that this CPU has, over shapes that include ragged ones."""
    offered = [name for name, compiled, missing in _native.isa_levels() if compiled and not missing]
    command = [sys.executable, "-m", "pytest", "tests/native", "--color=no", "-o", "addopts="]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
    counts = {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|errors?)\b", said)}
    share = counts.get("passed", 0) / max(sum(counts.values()), 1)
    rows = [
        Row(f"levels {', '.join(offered)} compared with the reference, share of tests passed", share, "{:.0%}", 1.0)
    ]
    report("levels", setting.about(), counts, rows)
    return rows
