"""Encoding of float32 rows as JSON, by the compiled module if there is one."""

from collections.abc import Callable

import msgspec
import numpy as np

from openbei.batch import Vectors


def numpy_json_row(row: Vectors) -> bytes:
    """`json_row` without the compiled module."""
    if not np.isfinite(row).all():
        raise ValueError("a number is not finite")
    return msgspec.json.encode(row.tolist())


json_row: Callable[[Vectors], bytes]
"""A contiguous float32 [n] as a JSON array. Each number parses back to the same float32.

Raises ValueError for a number that is not finite, which JSON cannot represent.
"""
try:
    from openbei._native import json_row
except ImportError:
    json_row = numpy_json_row
