"""Windows of neighbouring rows, interpreted."""

import pytest
import torch

pytest.importorskip("triton")

from openbei.backends.cuda.kernels import windows

from ..conftest import Interpret
from .judge import DTYPES, int32s, numbers


def check_windows(dtype: torch.dtype, width: int) -> None:
    """Two more rows belong to no sequence, and an empty sequence follows."""
    lengths = (1, 5, 2)
    x = numbers(10, 20, dtype=dtype)[:, :18]
    radius = width // 2
    exact = []
    for own in x[:8].split(lengths):
        padded = torch.nn.functional.pad(own, (0, 0, radius, radius))
        exact.append(torch.cat([padded[i : i + len(own)] for i in range(width)], dim=1))
    assert torch.equal(windows.windows(x, int32s(0, 1, 6, 8, 8), width)[:8], torch.cat(exact))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 9])
def test_windows(interpret: Interpret, dtype: torch.dtype, width: int) -> None:
    interpret(check_windows, dtype, width)
