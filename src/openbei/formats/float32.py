"""float32: exact."""

import numpy as np

from openbei.formats.unscaled import Unscaled


class Float32(Unscaled):
    """The numbers themselves."""

    dtype = np.dtype(np.float32)
    relative_error = 0.0
