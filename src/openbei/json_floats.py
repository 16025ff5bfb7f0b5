"""float32 rows as JSON text: by the compiled module, or slower without it."""

from collections.abc import Callable

import msgspec
import numpy as np

from openbei.batch import Vectors


def numpy_json_row(row: Vectors) -> bytes:
    """What `json_row` is where nothing is compiled."""
    if not np.isfinite(row).all():
        raise ValueError("a number is not finite")
    return msgspec.json.encode(row.tolist())


json_row: Callable[[Vectors], bytes]
"""float32 [n], contiguous, to a JSON array. Each number reads back as exactly the same float32.

Raises ValueError for a number that is not finite, which JSON cannot say.
"""
try:
    from openbei._native import json_row
except ImportError:
    json_row = numpy_json_row
