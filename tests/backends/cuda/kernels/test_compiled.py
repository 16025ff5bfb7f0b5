"""Kernels compiled for cards that are not there spill no registers. `compile_all` compiles all cases."""

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import windows

from . import cases
from .compiler import compiling, problems

CASES = cases.cases()


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        (90, "attention, bge-base, 64 queries, fp16"),
        (80, "attention, MiniLM, 1 queries, fp16"),
        (90, "linear 100 × 768, gelu, bf16"),
        (80, "layer norm 768, fp16"),
        (90, "RMS norm 1024, e4m3"),
        (100, "rotary and norm 24 × 128, bf16"),
        (100, "gate 14336, e4m3"),
        (80, "pool weighted_mean, bf16"),
        (100, "windows of 3 × 768, fp16"),
    ],
)
def test_machine_code(capability: int, name: str) -> None:
    with compiling(capability) as compiled:
        CASES[name]()
    [kernel] = compiled
    assert problems(kernel, capability) == []
    if capability == 90 and name.startswith(("attention", "linear")):
        assert "wgmma" in kernel.ptx
    if name.endswith("e4m3"):
        assert "cvt.rn.satfinite.e4m3x2.f32" in kernel.ptx


def test_another_number_of_rows_compiles_nothing() -> None:
    """Triton specializes kernels for numbers that are 1 or multiples of 16, unless told otherwise."""
    with compiling(90) as compiled:
        for num_rows in (17, 32):
            cases.maxima(torch.float16, num_rows, 96)
            cases.linear(torch.float16, num_rows - 16, (96, 96), "relu")
            cases.expert_linear(torch.float16, num_rows)
            windows.windows(torch.empty(num_rows, 96), torch.zeros(2, dtype=torch.int32), 3)
    assert len(compiled) == 8
    assert len({kernel.digest for kernel in compiled}) == 4


def test_problems_are_found() -> None:
    with compiling(80) as compiled:
        CASES["pool cls, fp16"]()
    [kernel] = compiled
    assert problems(kernel, 80) == []
    worse = type(kernel)(kernel.digest, 255, 1000, 200_000, kernel.ptx)
    assert len(problems(worse, 80)) == 2
