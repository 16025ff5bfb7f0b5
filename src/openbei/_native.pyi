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
        assume_supported: bool = False,
    ) -> None: ...
    def run(
        self,
        ids: NDArray[np.int32],
        cu_seqlens: NDArray[np.int32],
        types: NDArray[np.int32] | None,
        num_excluded: NDArray[np.int32] | None,
        skips_head: bool,
        out: NDArray[np.float32],
    ) -> None:
        """Fill `out`, [rows, columns padded to a multiple of 32], with the task head's output.

        With `skips_head`, fill it with the last layer's row of every token. `num_excluded` is how many tokens at the
        start of each sequence are excluded from pooling.
        """
    def wake(self) -> None:
        """Wake the threads, for a batch that is about to come. Returns at once if a batch is running."""
    @property
    def isa(self) -> str: ...
    @property
    def num_threads(self) -> int: ...

activations: tuple[str, ...]
"""Every activation, in the order of its enum; "none" is the identity."""

poolings: tuple[str, ...]
"""Every pooling, in the order of its enum; "tokens" keeps all rows."""

bias_slack: int
"""Elements that may be read past both ends of a table by distance."""

def isa_levels() -> list[tuple[str, bool, str]]:
    """(name, compiled, what this machine lacks or "") of every level, fastest first."""

def kernels(isa: str, dtype: str, *, assume_supported: bool = False) -> int:
    """The address of a level's table of kernels (native/kernels.hpp), for tests that call kernels directly."""

def plan(
    cu_seqlens: NDArray[np.int32], num_threads: int, rows_per_group: int, attention_per_token: float
) -> tuple[int, list[list[int]]]:
    """(threads in a team, sequences of each group), most expensive group first.

    `attention_per_token` is the cost of one token attending to one token, in units of one token going through the
    linear maps.
    """

def peak_flops(isa: str, dtype: str, num_threads: int, seconds: float) -> float:
    """The rate of multiply-adds on registers, in flop/s over all threads."""

def json_row(row: NDArray[np.float32]) -> bytes:
    """A row as a JSON array. Raises ValueError for numbers that are not finite."""
