"""Step 8: how long it takes to import torch, to load a model, and to its first answer."""

import subprocess
import sys
import time

from .models import batches_of
from .run import Result, Run
from .shapes import engine_of, names_of, spec_of


def run(run: Run) -> Result:
    """Seconds for each."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass" if run.is_tiny else "import torch"], check=True)
    result: Result = {"import torch": time.perf_counter() - start}
    for name in names_of(run)[:1]:
        spec = spec_of(name, run)
        start = time.perf_counter()
        engine = engine_of(spec, run)
        loaded = time.perf_counter()
        engine.run(batches_of(spec, [16], 1)[0])
        result[name] = {"load": loaded - start, "first answer after it": time.perf_counter() - loaded}
    return result
