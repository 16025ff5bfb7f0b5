"""The compiled CPU engine; see native/module.cpp."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class Encoder:
    """A transformer encoder over packed sequences. Raises ValueError for bad tensors, levels and batches."""

    def __init__(
        self,
        tensors: dict[str, NDArray[Any]],
        spec: dict[str, Any],
        *,
        dtype: str,
        num_threads: int,
        isa: str = "",
        assume_offered: bool = False,
    ) -> None: ...
    def run(
        self,
        ids: NDArray[np.int32],
        cu_seqlens: NDArray[np.int32],
        types: NDArray[np.int32] | None,
        unpooled: NDArray[np.int32] | None,
        tokens: bool,
        out: NDArray[np.float32],
    ) -> None:
        """Fill `out`, whose columns are padded to a multiple of 32; `tokens` asks for the last layer's rows.

        `unpooled` is how many of each sequence's first tokens are not pooled.
        """
    @property
    def isa(self) -> str: ...
    @property
    def num_threads(self) -> int: ...

bias_slack: int
"""Numbers before and after a table by distance that may be read."""

def isa_levels() -> list[tuple[str, bool, str]]:
    """(name, compiled, what this machine lacks or "") of every level, fastest first."""

def kernels(isa: str, dtype: str, *, assume_offered: bool = False) -> int:
    """Address of a level's table of kernels (native/kernels.hpp), which tests call one by one."""

def plan(
    cu_seqlens: NDArray[np.int32], num_threads: int, rows_per_group: int, attention_per_token: float
) -> tuple[int, list[list[int]]]:
    """(threads of a team, sequences of each group), the most expensive group first.

    `attention_per_token` is what a token costs for each it attends to, in units of one passing the linear maps.
    """

def peak_flops(isa: str, dtype: str, num_threads: int, seconds: float) -> float:
    """Multiply-adds on registers alone, in flop/s over all threads."""

def json_row(row: NDArray[np.float32]) -> bytes:
    """A row as a JSON array. Raises ValueError for a number that is not finite."""
