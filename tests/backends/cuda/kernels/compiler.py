"""Compiles Triton kernels for cards that are not there, and reads what the machine code needs."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import triton
from triton.runtime.jit import JITFunction

from openbei.backends.cuda.kernel_cache import compiling_for
from openbei.gpus import Capability

CAPABILITIES = (80, 89, 90, 100)
"""A100, L4, H100 and H200, B200."""

MAX_SHARED_BYTES = 101_376
"""Shared memory of a program on L4 and A10G, the least of all supported cards."""

MAX_STACK_BYTES = {80: 64, 89: 64, 90: 0, 100: 64}
"""Spilled registers of a thread that do not matter, beside hundreds of instructions."""

_CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


@dataclass(frozen=True)
class Compiled:
    """A compiled kernel: registers of a thread, bytes of its stack, where spilled registers are, and shared memory.

    `digest` is that of its source, arguments' types and options.
    """

    digest: str
    num_registers: int
    stack_bytes: int
    shared_bytes: int
    ptx: str


@contextmanager
def compiling(capability: int) -> Iterator[list[Compiled]]:
    """Launches compile their kernels, which are appended to the list, and run nothing."""
    compiled: list[Compiled] = []
    run = JITFunction.run

    def compile_only(self: JITFunction, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        compiled.append(_resources(kernel))

    with pytest.MonkeyPatch.context() as patch, compiling_for(Capability(*divmod(capability, 10))):
        patch.setattr(JITFunction, "run", compile_only)
        yield compiled


def _resources(kernel: Any) -> Compiled:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        usage = subprocess.run([_CUOBJDUMP, "-res-usage", file.name], text=True, capture_output=True, check=True).stdout
    registers, stack = (int(re.findall(rf"{what}:(\d+)", usage)[-1]) for what in ("REG", "STACK"))
    return Compiled(kernel.hash, registers, stack, kernel.metadata.shared, kernel.asm["ptx"])


def problems(kernel: Compiled, capability: int) -> list[str]:
    """What is wrong with a kernel."""
    found = []
    if kernel.stack_bytes > (limit := MAX_STACK_BYTES[capability]):
        found.append(f"{kernel.stack_bytes} bytes of stack, above {limit};")
    if kernel.shared_bytes > MAX_SHARED_BYTES:
        found.append(f"{kernel.shared_bytes} bytes of shared memory, above {MAX_SHARED_BYTES};")
    return found
