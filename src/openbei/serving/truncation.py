"""Which tokens of an input that is too long are kept: a rule on positions, without a tokenizer."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["right", "left"]
"""The side on which tokens are cut off."""

FIXED = -1
"""The part of tokens that are never cut: special tokens and templates."""


def kept(parts: NDArray[np.intp], limit: int, direction: Direction) -> NDArray[np.intp]:
    """Positions to keep, ascending: at most `limit` of them, int [min(n, limit)].

    `parts` is int [n]: FIXED, or 0 or 1 for tokens of the first or second text. Both texts get half of the room, and
    the longer one what the shorter one leaves (the second, where they are as long): `longest_first` of transformers.
    """
    first, second = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
    fixed = np.flatnonzero(parts == FIXED)
    room = max(0, limit - len(fixed))
    num_shorter = min(len(first), len(second), room // 2)
    num_first = room - num_shorter if len(first) > len(second) else num_shorter
    texts = _side(first, num_first, direction), _side(second, room - num_first, direction)
    positions: NDArray[np.intp] = np.sort(np.concatenate([fixed, *texts]))
    return positions[:limit]


def _side(positions: NDArray[np.intp], count: int, direction: Direction) -> NDArray[np.intp]:
    return positions[:count] if direction == "right" else positions[max(0, len(positions) - count) :]
