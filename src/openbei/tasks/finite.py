"""What every task refuses: engine output that is not a number."""

import numpy as np

from openbei.batch import Vectors
from openbei.errors import EngineError


def check_finite(numbers: Vectors) -> None:
    """Raise EngineError unless every number is finite."""
    if not np.isfinite(numbers).all():
        raise EngineError("the engine returned values that are not finite")
