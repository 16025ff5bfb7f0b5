"""float16: IEEE 754 half precision, rounded to nearest, ties to even."""

import numpy as np

from openbei.formats.unscaled import Unscaled


class Float16(Unscaled):
    """Eleven significant bits, up to 65504."""

    dtype = np.dtype(np.float16)
    relative_error = 2.0**-11
