"""The check for NaN and infinity in the engine's output, for all tasks."""

import numpy as np

from openbei.batch import Vectors
from openbei.errors import EngineError


def check_finite(numbers: Vectors) -> None:
    """Raise EngineError unless every number is finite."""
    if not np.isfinite(numbers).all():
        raise EngineError("the engine returned values that are not finite")
