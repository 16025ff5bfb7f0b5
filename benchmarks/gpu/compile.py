"""Compiles the kernels that `benchmarks.cuda_once` needs without a GPU, so that its time there is for measurements.

python -m benchmarks.gpu.compile FOLDER [--capability 9.0]

Run it with the versions of Python and Triton of the machine with the GPU, copy the folder to the same path there, and
set TRITON_CACHE_DIR to it. It takes ten minutes on two cores. Only files that end in .cubin and .json are needed.
"""

import argparse
import logging
from pathlib import Path

import torch

from openbei.backends.cuda import kernel_cache
from openbei.gpus import Capability
from tests.random_engine import random_engine_dir

from . import correctness, tune
from .run import Run
from .shapes import SHAPES, made_up

_log = logging.getLogger(__name__)


def main() -> None:
    """Compile, and print what is done."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.compile", description="Compile kernels.")
    parser.add_argument("folder", type=Path, help="the cache of kernels")
    parser.add_argument("--capability", default="9.0", help="compute capability of the GPU")
    arguments = parser.parse_args()
    capability = Capability(*(int(part) for part in arguments.capability.split(".")))
    kernel_cache.use_folder(arguments.folder.absolute())
    for name, spec in SHAPES.items():
        for is_float8 in (False, True) if spec.placement != "post" else (False,):
            kernel_cache.compile_kernels(made_up(spec, is_float8=is_float8), capability)
        _log.info("compiled %s", name)
    run = Run(torch.device("meta"), is_tiny=False)
    for name, spec in correctness.models(run).items():
        kernel_cache.compile_kernels(random_engine_dir(spec, "bfloat16"), capability)
        _log.info("compiled %s", name)
    with kernel_cache.compiling_for(capability), torch.inference_mode():
        tune.run(run)
    _log.info("compiled all sizes of blocks")


if __name__ == "__main__":
    main()
