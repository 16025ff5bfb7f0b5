"""Compiles all kernels for all cards and prints what they need: `python -m tests.backends.cuda.kernels.compile_all`.

Arguments select cases by a part of their names. Fails if a kernel spills more registers than the tests allow.
"""

import sys

from .cases import cases
from .compiler import CAPABILITIES, compiling, problems


def main() -> None:
    """Print a line for each kernel and card: registers, bytes of stack, bytes of shared memory."""
    has_failed = False
    for name, launch in cases().items():
        if not all(part in name for part in sys.argv[1:]):
            continue
        for capability in CAPABILITIES[1:] if name.endswith("e4m3") else CAPABILITIES:
            with compiling(capability) as compiled:
                launch()
            for kernel in compiled:
                found = problems(kernel, capability)
                has_failed |= bool(found)
                sizes = f"{kernel.num_registers:4} {kernel.stack_bytes:4} {kernel.shared_bytes:7}"
                sys.stdout.write(f"sm_{capability:<4} {sizes}  {name}  {' '.join(found)}\n")
                sys.stdout.flush()
    sys.exit(has_failed)


if __name__ == "__main__":
    main()
