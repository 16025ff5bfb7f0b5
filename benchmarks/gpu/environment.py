"""Step 1: the machine, and its libraries."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

from openbei.backends import effective_threads
from openbei.cli.info import cpu_name
from openbei.gpus import find_gpus

from .run import Result, Run


def run(run: Run) -> Result:
    """Names and versions, as torch and the driver's library report them."""
    found = find_gpus()
    gpus = [
        {"name": gpu.name, "capability": str(gpu.capability), "memory_bytes": gpu.memory_bytes} for gpu in found.gpus
    ]
    return {
        "gpus": gpus or found.missing,
        "driver": found.driver,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": _version("triton"),
        "transformers": _version("transformers"),
        "sentence-transformers": _version("sentence-transformers"),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "threads": effective_threads(),
        "cpus": os.cpu_count(),
        "free_bytes": run.free_bytes if run.is_cuda else None,
    }


def _version(module: str) -> str | None:
    try:
        return version(module)
    except PackageNotFoundError:
        return None
