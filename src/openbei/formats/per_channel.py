"""Scales of output channels: each maps the largest magnitude of a row to the largest number of a format."""

import numpy as np

from openbei.formats.format import Floats


def channel_scales(numbers: Floats, largest: float) -> Floats:
    """Scales [N] of a weight [N, K] for a format whose largest number is `largest`; 1 for a row of zeros."""
    magnitudes = np.abs(numbers).max(axis=1)
    return np.where(magnitudes == 0, np.float32(1), magnitudes / np.float32(largest)).astype(np.float32)
