"""`bei serve` in a subprocess."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

BEI = (sys.executable, "-m", "openbei")


class Running(NamedTuple):
    """A server: its process, its port, and its log until it was ready."""

    process: subprocess.Popen[str]
    port: int
    log: str


@contextmanager
def server(engine_dir: Path, *options: str) -> Iterator[Running]:
    """Run `bei serve` with these options on a free port, and stop it afterwards. Raises RuntimeError if it ends."""
    command = [*BEI, "serve", str(engine_dir), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            log = ""
            for line in process.stderr:
                log += line
                if ready := re.search(r"ready on http://[\d.]+:(\d+)", line):
                    yield Running(process, int(ready[1]), log)
                    return
            raise RuntimeError("the server did not start:\n" + log)
        finally:
            process.terminate()
