"""bfloat16: the upper 16 bits of float32, rounded to nearest, ties to even."""

import ml_dtypes
import numpy as np

from openbei.formats.unscaled import Unscaled


class Bfloat16(Unscaled):
    """Eight significant bits, the range of float32."""

    dtype = np.dtype(ml_dtypes.bfloat16)
    relative_error = 2.0**-8
